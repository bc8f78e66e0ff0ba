/* Address space that is mapped, touched, protected, unprotected and unmapped, piece by piece. */
#include "bench.h"

#include <sys/mman.h>

PROGRAM(mmap, 7000, "mappings of 16 pages, of which one is written, protected and read")
{
    enum { PAGES = 16, PAGE = 4096 };
    uint64_t sum = 0;
    begin();
    for (long round = 0; round < count; round++) {
        uint8_t *area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED)
            fail("mmap");
        uint8_t *page = area + (round % PAGES) * PAGE;
        page[round & 4095] = round;
        if (mprotect(page, PAGE, PROT_READ))
            fail("mprotect");
        sum = mix(sum, page[round & 4095]);
        if (munmap(area, PAGES * PAGE))
            fail("munmap");
    }
    end();
    return sum;
}
