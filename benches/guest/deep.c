/* Deep recursion: a walk through a tree that is a list on one side, and Ackermann's function. */
#include "bench.h"

struct node {
    struct node *left, *right;
    uint64_t value;
};

NOINLINE static uint64_t walk(const struct node *node, uint64_t depth)
{
    if (!node)
        return depth;
    uint64_t left = walk(node->left, depth + 1);
    uint64_t right = walk(node->right, depth + 1);
    return left * 3 + right + node->value;
}

NOINLINE static uint64_t ackermann(uint64_t m, uint64_t n)
{
    if (!m)
        return n + 1;
    return ackermann(m - 1, n ? ackermann(m, n - 1) : 1);
}

PROGRAM(deep, 500, "walks of a tree that is 20000 deep, with Ackermann's function of 2 and 250")
{
    enum { NODES = 40000 };
    struct node *nodes = allocate(NODES * sizeof *nodes);
    uint64_t sum = 0;
    for (int i = 0; i < NODES; i++) {
        nodes[i].value = i;
        if (i % 2 == 0 && i + 2 < NODES)
            nodes[i].left = &nodes[i + 2], nodes[i].right = &nodes[i + 1];
    }
    begin();
    for (long round = 0; round < count; round++) {
        nodes[round % NODES].value += round;
        sum = mix(sum, walk(nodes, 0));
        sum = mix(sum, ackermann(2, 250 + (round & 1)));
    }
    end();
    return sum;
}
