/* What a shim (rootshift-shim) and the node say to each other. A shim is the parent of one container: it runs runc, writes
 * the log, and records how the container ended before it tells anyone. It outlives the node; a new node connects to its
 * socket. Lines of text both ways:
 *   shim: `running PID STARTED_MS`, `failed TEXT`, `exited CODE STARTED_MS FINISHED_MS` (the current one is said again to
 *         everyone who connects); node: `kill SIGNO`.
 * Files in its directory: config.json and rootfs (the bundle), runc.log, `ended` (the last line said, written before it is
 * said; a shim that is gone without it was killed).
 * Command line: rootshift-shim DIR ID SOCKET LOGFILE RUNC_ROOT; standard input is a socket, the first listener. */
#pragma once

enum { RS_SHIM_FD = 0, RS_SHIM_LINE = 1024 };
#define RS_SHIM_ENDED "ended"

int rs_shim_main(int argc, char **argv);
