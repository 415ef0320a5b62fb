# The face of the project. `make demo` and `make test` work from a fresh clone: each installs what is missing first.
#   make deps     Debian packages (with sudo unless root), Envoy, kubectl 1.20 and Python tools into build/deps
#   make build    all programs into build/bin/
#   make demo     the whole migration on an embedded cluster under live traffic  (KEEP=1: leave the cluster up)
#   make test     every test  (SANITIZE=address,undefined: unit tests and one short flow under sanitizers)
#   make bench    figures and ratios
#   make clean

SANITIZE ?=
KEEP ?=
B := build
ifneq ($(SANITIZE),)
M := $(B)/sanitized
BIN := $(B)/sanitized/bin
else
M := $(B)/main
BIN := $(B)/bin
endif
PYTHON := $(abspath $(B)/deps/venv/bin/python)
PROGRAMS = rootshift rootshift-cluster rootshift-node rootshift-control rootshift-ca rootshift-agent rootshift-echo

.PHONY: deps build demo test test-unit test-flow bench clean fuzz
build: deps
	@tools/build "$(M)" "$(BIN)" "$(SANITIZE)"

deps:
	@tools/deps "$(B)/deps"

demo: build
	@$(PYTHON) demo/demo.py --bin "$(abspath $(BIN))" --out "$(abspath $(B))/demo" $(if $(KEEP),--keep)

test: build
	@tools/run-tests "$(M)" "$(BIN)" "$(SANITIZE)"

test-unit: build
	@meson test -C "$(M)" --suite unit --print-errorlogs

bench: build
	@$(PYTHON) bench/run.py --bin "$(abspath $(BIN))"

clean:
	@rm -rf $(B)/main $(B)/sanitized $(B)/bin $(B)/demo
