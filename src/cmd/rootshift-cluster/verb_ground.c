#include "base/opt.h"
#include "cluster/holder.h"
#include "cmd/rootshift-cluster/verbs.h"

int rs_verb_ground(int argc, char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "usage: rootshift-cluster ground\n");
        return 2;
    }
    return rs_holder_main();
}
