/* Two processes that pass a byte to and fro through pipes. */
#include "bench.h"

#include <sys/wait.h>

PROGRAM(pingpong, 20000, "round trips between two processes")
{
    int there[2], back[2];
    uint8_t byte = 0;
    if (pipe(there) || pipe(back))
        fail("pipe");
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (!pid) {
        for (long i = 0; i < count; i++) {
            if (read(there[0], &byte, 1) != 1)
                _exit(1);
            byte++;
            if (write(back[1], &byte, 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    begin();
    for (long i = 0; i < count; i++)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            fail("a pipe");
    int status;
    if (waitpid(pid, &status, 0) != pid)
        fail("waitpid");
    end();
    return mix(byte, status);
}
