/* Small files in a file system in memory: made, written, read back, looked up, renamed and removed. */
#include "bench.h"

#include <fcntl.h>
#include <sys/stat.h>

PROGRAM(file, 1500, "files of 32 KiB")
{
    enum { PIECE = 4096, PIECES = 8 };
    static uint8_t piece[PIECE];
    char path[64], other[80];
    struct stat status;
    uint64_t sum = 0;
    snprintf(path, sizeof path, "/dev/shm/bench-file-%d", (int)getpid());
    snprintf(other, sizeof other, "%s.done", path);
    begin();
    for (long round = 0; round < count; round++) {
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (fd < 0)
            fail(path);
        for (int i = 0; i < PIECES; i++) {
            piece[i] = round + i;
            if (write(fd, piece, PIECE) != PIECE)
                fail(path);
        }
        if (lseek(fd, 0, SEEK_SET))
            fail(path);
        for (int i = 0; i < PIECES; i++) {
            if (read(fd, piece, PIECE) != PIECE)
                fail(path);
            sum = mix(sum, piece[i]);
        }
        if (close(fd) || rename(path, other) || stat(other, &status) || unlink(other))
            fail(other);
        sum = mix(sum, status.st_size);
    }
    end();
    return sum;
}
