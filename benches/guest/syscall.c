#include "bench.h"

#include <sys/syscall.h>

PROGRAM(syscall, 700000, "system calls that do next to nothing")
{
    uint64_t same = 0;
    long parent = getppid();
    begin();
    for (long i = 0; i < count; i++)
        same += syscall(SYS_getppid) == parent;
    end();
    return same;
}
