/*
 * struct error: how a failure travels up to the user.
 *
 * A function that can fail returns false (or NULL) and leaves one sentence for
 * the user: what failed, where (file, option, line), what to do about it.
 * Nothing below main() prints it or exits.
 */
#ifndef DOPPEL_CPU_ERROR_H
#define DOPPEL_CPU_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

struct error {
    char text[512];
};

/* Fills `error` (may be NULL) and returns false, so that callers write `return error_set(...)`. */
__attribute__((format(printf, 2, 3))) static inline bool error_set(struct error *error,
                                                                   const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return false;
}

#endif
