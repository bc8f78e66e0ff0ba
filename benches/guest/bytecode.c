/* The loop of a bytecode interpreter: a stack machine that looks for the longest Collatz sequence. */
#include "bench.h"

enum op { PUSH, LOAD, STORE, ADD, SUB, MUL, HALVE, ODD, LESS, JUMP, JUMP_IF_NOT, DUP, DROP, CALL, RETURN, HALT };

/* Variables: 0 the start, 1 the current number, 2 the length so far, 3 the longest, 4 the limit. */
static const int32_t code[] = {
    /*  0: for each start below the limit */
    PUSH, 1, STORE, 0, PUSH, 0, STORE, 3,
    /*  8 */ LOAD, 0, LOAD, 4, LESS, JUMP_IF_NOT, 39, CALL, 40,
    /* 17: keeps the longest */
    LOAD, 3, LOAD, 2, LESS, JUMP_IF_NOT, 28, LOAD, 2, STORE, 3,
    /* 28 */ LOAD, 0, PUSH, 1, ADD, DUP, STORE, 0, DROP, JUMP, 8,
    /* 39 */ HALT,
    /* 40: the length of the sequence from variable 0 */
    LOAD, 0, STORE, 1, PUSH, 0, STORE, 2,
    /* 48 */ LOAD, 1, PUSH, 1, SUB, JUMP_IF_NOT, 86, LOAD, 2, PUSH, 1, ADD, STORE, 2,
    /* 62 */ LOAD, 1, ODD, JUMP_IF_NOT, 79, LOAD, 1, PUSH, 3, MUL, PUSH, 1, ADD, STORE, 1, JUMP, 48,
    /* 79 */ LOAD, 1, HALVE, STORE, 1, JUMP, 48,
    /* 86 */ RETURN,
};

NOINLINE static int64_t interpret(const int32_t *program, int64_t limit, uint64_t *steps)
{
    int64_t stack[64], variables[8] = { [4] = limit }, *top = stack;
    const int32_t *calls[16], **call = calls, *pc = program;
    uint64_t count = 0;
    *top = 0;
    for (;;) {
        count++;
        switch ((enum op)*pc++) {
        case PUSH: *++top = *pc++; break;
        case LOAD: *++top = variables[*pc++]; break;
        case STORE: variables[*pc++] = *top--; break;
        case ADD: top--, top[0] += top[1]; break;
        case SUB: top--, top[0] -= top[1]; break;
        case MUL: top--, top[0] *= top[1]; break;
        case HALVE: *top >>= 1; break;
        case ODD: *top &= 1; break;
        case LESS: top--, top[0] = top[0] < top[1]; break;
        case JUMP: pc = program + *pc; break;
        case JUMP_IF_NOT: pc = *top-- ? pc + 1 : program + *pc; break;
        case DUP: top++, top[0] = top[-1]; break;
        case DROP: top--; break;
        case CALL: *call++ = pc + 1, pc = program + *pc; break;
        case RETURN: pc = *--call; break;
        case HALT: *steps += count; return variables[3];
        }
    }
}

PROGRAM(bytecode, 90, "searches up to 1000")
{
    uint64_t sum = 0, steps = 0;
    begin();
    for (long round = 0; round < count; round++)
        sum = mix(sum, interpret(code, 1000 + round, &steps));
    end();
    return mix(sum, steps);
}
