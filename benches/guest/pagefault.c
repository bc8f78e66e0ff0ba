/* Pages that the kernel gives when they are first written, four million bytes at a time. */
#include "bench.h"

#include <sys/mman.h>

PROGRAM(pagefault, 30, "mappings of 1024 pages, each page touched")
{
    enum { PAGES = 1024, PAGE = 4096 };
    uint64_t sum = 0;
    begin();
    for (long round = 0; round < count; round++) {
        uint8_t *area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED)
            fail("mmap");
        madvise(area, PAGES * PAGE, MADV_NOHUGEPAGE); /* fails where there are none: as good */
        for (long page = 0; page < PAGES; page++)
            area[page * PAGE + (page & 4095)] = page;
        sum = mix(sum, area[(round % PAGES) * PAGE + (round % PAGES)]);
        if (munmap(area, PAGES * PAGE))
            fail("munmap");
    }
    end();
    return sum;
}
