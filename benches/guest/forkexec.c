#include "bench.h"

#include <sys/wait.h>

PROGRAM(forkexec, 120, "processes forked, that run another program, and waited for")
{
    uint64_t done = 0;
    begin();
    for (long i = 0; i < count; i++) {
        int status;
        pid_t pid = fork();
        if (pid < 0)
            fail("fork");
        if (!pid) {
            execl("/proc/self/exe", "nothing", "--nothing", (char *)NULL);
            _exit(127);
        }
        if (waitpid(pid, &status, 0) != pid)
            fail("waitpid");
        done += status == 0;
    }
    end();
    return done;
}
