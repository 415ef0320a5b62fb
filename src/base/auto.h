/* Ownership of locals by scope: RS_AUTO(type) frees a pointer when its block ends, rs_take() hands it over. */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#define RS_MUST_USE __attribute__((warn_unused_result))
#define RS_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Defines what RS_AUTO(type) calls; the free function must accept NULL. */
#define RS_DEFINE_AUTO(type, free_fn) \
    static inline void rs_auto_##type(type **p) { if (*p) free_fn(*p); *p = NULL; }

#define RS_AUTO(type) __attribute__((cleanup(rs_auto_##type))) type

/* Evaluates to p and leaves NULL behind, so that the scope no longer owns it. */
#define rs_take(p) ({ __typeof__(p) rs_taken_ = (p); (p) = NULL; rs_taken_; })

typedef char rs_chars;                     /* RS_AUTO(rs_chars) *s = malloc'ed text */
RS_DEFINE_AUTO(rs_chars, free)
RS_DEFINE_AUTO(FILE, fclose)

/* int RS_AUTO_FD fd = open(...): closed at scope end unless negative. */
void rs_auto_fd_close(int *fd);
#define RS_AUTO_FD __attribute__((cleanup(rs_auto_fd_close)))

/* Allocation that aborts instead of failing. What an outsider can make us hold is bounded before it gets here. */
void *rs_alloc(size_t n) __attribute__((malloc, returns_nonnull));            /* zeroed */
void *rs_realloc(void *p, size_t n) __attribute__((returns_nonnull));
#define rs_new(type) ((type *)rs_alloc(sizeof(type)))
#define rs_new_array(type, n) ((type *)rs_alloc_array((n), sizeof(type)))
void *rs_alloc_array(size_t n, size_t size) __attribute__((returns_nonnull)); /* zeroed; aborts on overflow */

/* A programming mistake ends the process; input never may. */
void rs_assert_failed(const char *what, const char *file, int line) __attribute__((noreturn));
#define rs_assert(x) ((x) ? (void)0 : rs_assert_failed(#x, __FILE__, __LINE__))

#define RS_COUNT(array) (sizeof(array) / sizeof((array)[0]))
