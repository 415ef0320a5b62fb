/* The printers of the built-in kinds. */
#pragma once
#include "cluster/table.h"

/* "Name, *Wide column, Count:integer" - a star marks columns of -o wide. cells fills in one row. */
struct rs_printer { const char *key, *columns; void (*cells)(json_t *row, const json_t *doc); };
extern const struct rs_printer rs_printers[];
extern const size_t rs_n_printers;

/* Age as text, "<unknown>" without a time. New reference. */
json_t *rs_cell_age(const char *time);
