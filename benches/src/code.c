/* Ordinary code; its compiled form is in code.rs. */
#include <stddef.h>
#include <stdint.h>

struct node {
    struct node *next;
    uint64_t key;
    uint32_t flags;
};

uint64_t hash(const uint8_t *s, size_t n)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++) {
        h ^= s[i];
        h *= 0x100000001b3;
    }
    return h;
}

void sort(int *a, int n)
{
    for (int i = 1; i < n; i++) {
        int x = a[i], j = i;
        while (j > 0 && a[j - 1] > x) {
            a[j] = a[j - 1];
            j--;
        }
        a[j] = x;
    }
}

struct node *find(struct node *l, uint64_t key)
{
    while (l && l->key != key)
        l = l->next;
    return l;
}

int insert(struct node **head, struct node *n)
{
    if (find(*head, n->key)) {
        n->flags |= 1;
        return -1;
    }
    n->next = *head;
    *head = n;
    return 0;
}

char *copy(char *d, const char *s, size_t n)
{
    char *r = d;
    while (n >= 8) {
        *(uint64_t *)d = *(const uint64_t *)s;
        d += 8;
        s += 8;
        n -= 8;
    }
    while (n--)
        *d++ = *s++;
    return r;
}

static const char digits[] = "0123456789abcdef";

char *format(char *out, uint64_t v, unsigned base)
{
    char tmp[64];
    int n = 0;
    do
        tmp[n++] = digits[v % base];
    while (v /= base);
    while (n)
        *out++ = tmp[--n];
    *out = 0;
    return out;
}

int dispatch(int op, long a, long b, long *r)
{
    switch (op) {
    case 0: *r = a + b; break;
    case 1: *r = a - b; break;
    case 2: *r = a * b; break;
    case 3:
        if (!b)
            return -1;
        *r = a / b;
        break;
    case 4: *r = a << (b & 63); break;
    case 5: *r = a < b ? a : b; break;
    default: return -2;
    }
    return 0;
}

int parse(const char *s, long *out)
{
    long v = 0;
    int neg = *s == '-';
    s += neg;
    if (*s < '0' || *s > '9')
        return -1;
    while (*s >= '0' && *s <= '9')
        v = v * 10 + (*s++ - '0');
    *out = neg ? -v : v;
    return 0;
}
