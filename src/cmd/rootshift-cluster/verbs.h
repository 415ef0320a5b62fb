/* The processes of an embedded cluster, one verb each: one file verb_NAME.c per verb, one line in the table of main.c, one
 * prototype here. A verb gets its own argv (argv[0] is the verb) and returns the exit status. None is meant to be typed:
 * `rootshift cluster` and the supervisor start them (cluster/supervisor.h tells with what). */
#pragma once

int rs_verb_apiserver(int argc, char **argv);
int rs_verb_controllers(int argc, char **argv);
int rs_verb_ground(int argc, char **argv);
int rs_verb_supervise(int argc, char **argv);
