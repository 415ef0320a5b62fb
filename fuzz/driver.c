/* Runs a fuzz target over a directory of inputs, so that every corpus is a plain test too. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (!dir) {
        fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
        return 2;
    }
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir)); ) {
        if (entry->d_name[0] == '.')
            continue;
        struct rs_err e;
        size_t n;
        RS_AUTO(rs_chars) *path = rs_printf("%s/%s", argv[1], entry->d_name), *bytes = NULL;
        if (rs_file_read(path, RS_FILE_MAX, &bytes, &n, &e) < 0) {
            fprintf(stderr, "%s\n", e.msg);
            return 1;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)bytes, n);
        count++;
    }
    closedir(dir);
    printf("%zu inputs\n", count);
    return count ? 0 : 1;
}
