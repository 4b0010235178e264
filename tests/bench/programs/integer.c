/*
 * Integer work of the kinds that ordinary programs mix: linked lists, small matrices, a text state
 * machine, and a bitwise CRC over all results. The data change every 16 rounds.
 */
#include "bench.h"

#define NODES     256
#define DIMENSION 20

struct node {
    struct node *next;
    uint32_t key, value;
};

static struct node nodes[NODES];

static uint16_t crc16(uint16_t crc, uint32_t value)
{
    for (int bit = 0; bit < 32; bit++) {
        bool carry = (crc ^ value) & 1;
        crc >>= 1;
        value >>= 1;
        if (carry)
            crc ^= 0xa001;
    }
    return crc;
}

static struct node *list_build(uint64_t *random)
{
    for (size_t i = 0; i < NODES; i++) {
        nodes[i].next = i + 1 < NODES ? &nodes[i + 1] : NULL;
        nodes[i].key = (uint32_t)bench_random(random) & 0xffff;
        nodes[i].value = (uint32_t)i;
    }
    return nodes;
}

static struct node *list_reverse(struct node *list)
{
    struct node *reversed = NULL;
    while (list) {
        struct node *next = list->next;
        list->next = reversed;
        reversed = list;
        list = next;
    }
    return reversed;
}

/* Bottom-up merge sort on the links. */
static struct node *list_sort(struct node *list)
{
    for (size_t width = 1; width < NODES; width *= 2) {
        struct node *rest = list, **tail = &list;
        while (rest) {
            struct node *left = rest, *right = rest;
            size_t left_count = 0, right_count = width;
            while (left_count < width && right) {
                left_count++;
                right = right->next;
            }
            while (left_count || (right_count && right)) {
                bool take_left = left_count && !(right_count && right && right->key < left->key);
                struct node *taken = take_left ? left : right;
                if (take_left)
                    left = left->next, left_count--;
                else
                    right = right->next, right_count--;
                *tail = taken;
                tail = &taken->next;
            }
            rest = right;
        }
        *tail = NULL;
    }
    return list;
}

static uint16_t list_work(uint64_t round, uint64_t *random, uint16_t crc)
{
    static struct node *list;
    if (round % 16 == 0)
        list = list_sort(list_build(random));
    list = list_reverse(list);
    for (uint32_t wanted = 0; wanted < 16; wanted++) {
        const struct node *node = list;
        while (node && node->value != wanted)
            node = node->next;
        crc = crc16(crc, node ? node->key : 0);
    }
    return crc16(crc, list->key);
}

static uint16_t matrix_work(uint64_t round, uint64_t *random, uint16_t crc)
{
    static int16_t a[DIMENSION][DIMENSION], b[DIMENSION][DIMENSION];
    int32_t sum = 0;
    for (int i = 0; i < DIMENSION && round % 16 == 0; i++)
        for (int j = 0; j < DIMENSION; j++) {
            uint64_t number = bench_random(random);
            a[i][j] = (int16_t)number;
            b[i][j] = (int16_t)(number >> 16);
        }
    for (int i = 0; i < DIMENSION; i++)
        for (int j = 0; j < DIMENSION; j++) {
            int32_t cell = 0;
            for (int k = 0; k < DIMENSION; k++)
                cell += ((a[i][k] * b[k][j]) >> 2 & 0x0f) * ((a[i][k] + b[k][j]) >> 5 & 0x7f);
            sum = cell > sum ? sum - 10 : sum + (cell & 1);
        }
    return crc16(crc, (uint32_t)sum);
}

/* Classifies words as integer, decimal, hexadecimal or neither, a character at a time. */
static uint16_t state_work(uint64_t round, uint64_t *random, uint16_t crc)
{
    static const char alphabet[] = "0123456789.,-+xaf ,0123";
    enum { START, SIGN, INTEGER, FRACTION, HEXADECIMAL, INVALID, STATES } state = START;
    uint32_t counts[STATES] = {0};
    static char text[400];
    for (size_t i = 0; i < sizeof text && round % 16 == 0; i++)
        text[i] = alphabet[bench_random(random) % (sizeof alphabet - 1)];
    for (size_t i = 0; i < sizeof text; i++) {
        char c = text[i];
        bool digit = c >= '0' && c <= '9';
        if (c == ',' || c == ' ') {
            counts[state]++;
            state = START;
            continue;
        }
        switch (state) {
        case START:
            state = digit ? INTEGER : c == '+' || c == '-' ? SIGN : c == '.' ? FRACTION : INVALID;
            break;
        case SIGN:
            state = digit ? INTEGER : c == '.' ? FRACTION : INVALID;
            break;
        case INTEGER:
            state = digit ? INTEGER : c == '.' ? FRACTION : c == 'x' ? HEXADECIMAL : INVALID;
            break;
        case FRACTION:
            state = digit ? FRACTION : INVALID;
            break;
        case HEXADECIMAL:
            state = digit || c == 'a' || c == 'f' ? HEXADECIMAL : INVALID;
            break;
        default:
            break;
        }
    }
    for (int i = 0; i < STATES; i++)
        crc = crc16(crc, counts[i]);
    return crc;
}

int main(int argc, char **argv)
{
    uint64_t rounds = bench_rounds(argc, argv, 50000), random = 0x1234567, checksum = 0;
    uint16_t crc = 0xffff;
    struct bench_time start = bench_start();
    for (uint64_t i = 0; i < rounds; i++) {
        crc = list_work(i, &random, crc);
        crc = matrix_work(i, &random, crc);
        crc = state_work(i, &random, crc);
        checksum = bench_mix(checksum, crc);
    }
    bench_report("integer", checksum, start);
    return 0;
}
