/* Three ways to sort the same numbers: quicksort that ends in insertion sort, heapsort, and radix sort by bytes. */
#include "bench.h"

enum { NUMBERS = 20000 };

static void insertion_sort(uint32_t *a, long n)
{
    for (long i = 1; i < n; i++) {
        uint32_t x = a[i];
        long j = i;
        for (; j > 0 && a[j - 1] > x; j--)
            a[j] = a[j - 1];
        a[j] = x;
    }
}

NOINLINE static void quick_sort(uint32_t *a, long n)
{
    while (n > 16) {
        uint32_t first = a[0], middle = a[n / 2], last = a[n - 1];
        uint32_t low = first < middle ? first : middle, high = first < middle ? middle : first;
        uint32_t pivot = last < low ? low : last > high ? high : last;
        long i = 0, j = n - 1;
        for (;;) {
            while (a[i] < pivot)
                i++;
            while (a[j] > pivot)
                j--;
            if (i >= j)
                break;
            uint32_t t = a[i];
            a[i++] = a[j], a[j--] = t;
        }
        quick_sort(a, j + 1);
        a += j + 1, n -= j + 1;
    }
    insertion_sort(a, n);
}

static void sift(uint32_t *a, long root, long n)
{
    uint32_t x = a[root];
    for (long child; (child = 2 * root + 1) < n; root = child) {
        child += child + 1 < n && a[child + 1] > a[child];
        if (a[child] <= x)
            break;
        a[root] = a[child];
    }
    a[root] = x;
}

NOINLINE static void heap_sort(uint32_t *a, long n)
{
    for (long root = n / 2; root-- > 0;)
        sift(a, root, n);
    while (--n > 0) {
        uint32_t t = a[0];
        a[0] = a[n], a[n] = t;
        sift(a, 0, n);
    }
}

NOINLINE static void radix_sort(uint32_t *a, uint32_t *scratch, long n)
{
    for (int shift = 0; shift < 32; shift += 8) {
        long starts[256] = { 0 }, start = 0;
        for (long i = 0; i < n; i++)
            starts[a[i] >> shift & 255]++;
        for (int byte = 0; byte < 256; byte++) {
            long length = starts[byte];
            starts[byte] = start;
            start += length;
        }
        for (long i = 0; i < n; i++)
            scratch[starts[a[i] >> shift & 255]++] = a[i];
        uint32_t *t = a;
        a = scratch, scratch = t;
    }
}

PROGRAM(sort, 100, "times that 20000 numbers are sorted in three ways")
{
    size_t bytes = NUMBERS * sizeof(uint32_t);
    uint32_t *numbers = allocate(bytes), *a = allocate(bytes), *scratch = allocate(bytes);
    uint64_t random = 2, sum = 0;
    begin();
    for (long round = 0; round < count; round++) {
        for (long i = 0; i < NUMBERS; i++)
            numbers[i] = next_random(&random);
        for (int way = 0; way < 3; way++) {
            memcpy(a, numbers, bytes);
            if (way == 0)
                quick_sort(a, NUMBERS);
            else if (way == 1)
                heap_sort(a, NUMBERS);
            else
                radix_sort(a, scratch, NUMBERS);
            for (long i = 1; i < NUMBERS; i++)
                sum += a[i - 1] > a[i];
            sum = mix(sum, a[NUMBERS / 3]);
        }
    }
    end();
    return sum;
}
