/* Text as programs handle it, by the C library: split into words, compared, searched, counted, converted and formatted. */
#include "bench.h"

#include <ctype.h>

enum { LINES = 400 };

PROGRAM(strings, 300, "passes over 400 lines of text")
{
    static const char *const fields[] = { "vcpu", "page", "timer", "console", "disk", "net", "irq", "cache" };
    char *lines[LINES];
    uint64_t random = 7, sum = 0;
    for (int i = 0; i < LINES; i++) {
        char line[256];
        uint64_t r = next_random(&random);
        snprintf(line, sizeof line, "  %s[%u]: Value=%lld; mode=%#x, note=\"%s of %s\"", fields[r & 7],
                 (unsigned)(r >> 3 & 15), (long long)(int64_t)r >> 20, (unsigned)(r >> 50), fields[r >> 7 & 7],
                 fields[r >> 10 & 7]);
        lines[i] = strdup(line);
    }
    begin();
    for (long round = 0; round < count; round++)
        for (int i = 0; i < LINES; i++) {
            char copy[256], out[256], *rest;
            strcpy(copy, lines[i]);
            for (char *c = copy; *c; c++)
                *c = tolower((unsigned char)*c);
            const char *value = strstr(copy, "value=");
            long long number = value ? strtoll(value + 6, NULL, 10) : 0;
            int words = 0, known = 0;
            for (char *word = strtok_r(copy, " []:;=,\"", &rest); word; word = strtok_r(NULL, " []:;=,\"", &rest)) {
                words++;
                for (size_t f = 0; f < LENGTH(fields); f++)
                    known += !strcmp(word, fields[f]);
            }
            int length = snprintf(out, sizeof out, "%d/%d %08llx %lld %.*s", known, words,
                                  (unsigned long long)number, number + round, 12, lines[i] + 2);
            sum = mix(sum, length);
            sum = mix(sum, (unsigned char)out[(round + i) % length]);
            sum += memchr(out, ':', length) != NULL;
        }
    end();
    return sum;
}
