#include "cpu/log.h"

#include <stdarg.h>

unsigned log_items = LOG_GUEST;
FILE *log_file;

void log_line(const char *format, ...)
{
    FILE *out = log_file ? log_file : stderr;
    char line[1024];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (length < 0)
        return;
    if ((size_t)length > sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    fwrite(line, 1, (size_t)length, out); /* one call, so that threads do not interleave */
}
