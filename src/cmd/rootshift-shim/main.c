#include "node/shim.h"

int main(int argc, char **argv) { return rs_shim_main(argc, argv); }
