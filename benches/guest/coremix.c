/* What embedded cores are compared by: a linked list that is searched, sorted and reversed, a small matrix, a scanner of
 * numbers made as a state machine, and a CRC over all results. */
#include "bench.h"

enum { NODES = 80, SIDE = 10 };

static uint16_t crc16(uint16_t crc, uint32_t value)
{
    for (int bit = 0; bit < 32; bit++, value >>= 1) {
        uint16_t out = (crc ^ value) & 1;
        crc = crc >> 1 ^ (out ? 0xa001 : 0);
    }
    return crc;
}

struct node {
    struct node *next;
    int key, data;
};

typedef int order(const struct node *, const struct node *);

static int by_key(const struct node *a, const struct node *b)
{
    return a->key - b->key;
}

static int by_data(const struct node *a, const struct node *b)
{
    return a->data != b->data ? a->data - b->data : a->key - b->key;
}

static struct node *merge(struct node *a, struct node *b, order *compare)
{
    struct node head, *tail = &head;
    while (a && b) {
        struct node **from = compare(a, b) <= 0 ? &a : &b;
        tail = tail->next = *from;
        *from = tail->next;
    }
    tail->next = a ? a : b;
    return head.next;
}

NOINLINE static struct node *sort_list(struct node *list, order *compare)
{
    if (!list || !list->next)
        return list;
    struct node *slow = list;
    for (struct node *fast = list->next; fast && fast->next; fast = fast->next->next)
        slow = slow->next;
    struct node *second = slow->next;
    slow->next = NULL;
    return merge(sort_list(list, compare), sort_list(second, compare), compare);
}

NOINLINE static uint16_t list_part(uint16_t crc, unsigned seed)
{
    static struct node nodes[NODES];
    struct node *list = NULL;
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i] = (struct node){ list, (i * 53 + seed) % 101, (i * 29 ^ seed) & 63 };
        list = &nodes[i];
    }
    for (unsigned wanted = 0; wanted < 20; wanted++) {
        int place = 0;
        for (struct node *n = list; n && n->key != (int)(wanted * 5); n = n->next)
            place++;
        crc = crc16(crc, place);
    }
    list = sort_list(list, by_data);
    struct node *reversed = NULL;
    while (list) {
        struct node *n = list;
        list = n->next;
        n->next = reversed;
        reversed = n;
    }
    int weight = 1, total = 0;
    for (struct node *n = sort_list(reversed, by_key); n; n = n->next)
        total += weight++ * (n->data - n->key);
    return crc16(crc, total);
}

NOINLINE static uint16_t matrix_part(uint16_t crc, int seed)
{
    int16_t a[SIDE][SIDE], b[SIDE][SIDE];
    int32_t trace = 0;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            a[i][j] = i * seed - j, b[i][j] = (i ^ j) + seed;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int32_t sum = 0;
            for (int k = 0; k < SIDE; k++)
                sum += a[i][k] * b[k][j];
            sum = sum > 20000 ? 20000 - (sum & 15) : sum < -20000 ? -20000 + (sum & 15) : sum;
            trace += sum >> (j & 3);
        }
    return crc16(crc, trace);
}

enum state { START, SIGN, WHOLE, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, POWER, WRONG, STATES };

/* Scans one number, up to a comma or the end. */
NOINLINE static enum state scan(const char **text)
{
    const char *at = *text;
    enum state state = START;
    for (; *at && *at != ','; at++) {
        char c = *at;
        int digit = c >= '0' && c <= '9', sign = c == '+' || c == '-', e = (c | 32) == 'e';
        switch (state) {
        case START: state = digit ? WHOLE : sign ? SIGN : c == '.' ? POINT : WRONG; break;
        case SIGN: state = digit ? WHOLE : c == '.' ? POINT : WRONG; break;
        case WHOLE: state = digit ? WHOLE : c == '.' ? FRACTION : e ? EXPONENT : WRONG; break;
        case POINT: state = digit ? FRACTION : WRONG; break;
        case FRACTION: state = digit ? FRACTION : e ? EXPONENT : WRONG; break;
        case EXPONENT: state = digit ? POWER : sign ? EXPONENT_SIGN : WRONG; break;
        case EXPONENT_SIGN: state = digit ? POWER : WRONG; break;
        case POWER: state = digit ? POWER : WRONG; break;
        default: break;
        }
    }
    *text = *at ? at + 1 : at;
    return state;
}

NOINLINE static uint16_t scan_part(uint16_t crc, unsigned seed)
{
    static char text[] = "17,-4,+365.25,.5,-.125,6.02e23,1e-9,2E+8,0x1f,--3,7.,12e,3.14.15,99999,e5,+,1234567.875,-0";
    unsigned seen[STATES] = { 0 }, at = seed * 7 % (sizeof text - 1);
    char old = text[at];
    text[at] = "0.e-,"[seed % 5];
    for (const char *s = text; *s;)
        seen[scan(&s)]++;
    text[at] = old;
    for (int state = 0; state < STATES; state++)
        crc = crc16(crc, seen[state]);
    return crc;
}

PROGRAM(coremix, 16000, "rounds of the mix")
{
    uint16_t crc = 0;
    begin();
    for (long round = 0; round < count; round++) {
        crc = list_part(crc, round & 1023);
        crc = matrix_part(crc, round % 200 - 100);
        crc = scan_part(crc, round & 1023);
    }
    end();
    return crc;
}
