/*
 * RTL8029: the DP8390's pages, remote DMA, transmitter and receive ring, as drivers use them, and
 * as a hostile one does.
 *
 *   test_ne2000 [STEPS]     of noise (default 100000)
 */
#include "hw/network/ne2000.h"
#include "tests/hw/nic_bench.h"

enum { CR, PSTART, PSTOP, BNRY, TPSR, TBCR0, TBCR1, ISR, RSAR0, RSAR1, RBCR0, RBCR1, RCR, TCR };
enum { TSR = 4, RSR = 12, DCR = 14, IMR = 15, PAR0 = 1, CURR = 7, MAR0 = 8 };
enum { DATA = 0x10, RESET = 0x18 };
enum { STOP = 0x21, START = 0x22, READ = 0x0a, WRITE = 0x12, SEND = 0x1a, TRANSMIT = 0x26 };
enum { PAGE_1 = 0x40, PAGE_2 = 0x80, PAGE_3 = 0xc0 };
enum { PRX = 0x01, PTX = 0x02, RDC = 0x40, RST = 0x80 };
enum { AB = 0x04, AM = 0x08, PRO = 0x10, MON = 0x20 };

#define TX_PAGE 0x40u
#define FIRST   0x46u
#define LAST    0x60u /* 26 pages */

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void setup(void)
{
    nic_bench_build(&nic_bench);
    ne2000_new(&nic_bench.pci.devices, nic_bench.pci.pci, NIC_DEVFN, nic_bench.pci.clock, nic_mac,
               &nic_bench.port, "nic0");
    nic_bench_start(&nic_bench);
}

static void teardown(void)
{
    pci_bench_free(&nic_bench.pci);
}

static void out(unsigned reg, unsigned value)
{
    nic_out(reg, value, 1);
}

static unsigned in(unsigned reg)
{
    return nic_in(reg, 1);
}

/* As NS8390_init does it, in word mode. */
static void start_driver(unsigned rcr)
{
    out(CR, STOP);
    out(DCR, 0x49);
    out(RBCR0, 0);
    out(RBCR1, 0);
    out(TCR, 0);
    out(RCR, rcr);
    out(PSTART, FIRST);
    out(BNRY, FIRST);
    out(PSTOP, LAST);
    out(ISR, 0xff);
    out(IMR, PRX | PTX);
    out(CR, STOP | PAGE_1);
    for (unsigned i = 0; i < 6; i++)
        out(PAR0 + i, nic_mac[i]);
    out(CURR, FIRST + 1);
    out(CR, START);
}

static void set_dma(unsigned address, unsigned count)
{
    out(RSAR0, address & 0xff);
    out(RSAR1, address >> 8);
    out(RBCR0, count & 0xff);
    out(RBCR1, count >> 8);
}

static void read_card(unsigned address, uint8_t *to, unsigned count)
{
    set_dma(address, count);
    out(CR, READ);
    for (unsigned i = 0; i < count; i += 2) {
        uint32_t word = nic_in(DATA, 2);
        to[i] = (uint8_t)word;
        if (i + 1 < count)
            to[i + 1] = (uint8_t)(word >> 8);
    }
    ck_assert_uint_eq(in(ISR)&RDC, RDC);
    out(ISR, RDC);
    out(CR, START);
}

static void write_card(unsigned address, const uint8_t *from, unsigned count)
{
    set_dma(address, count);
    out(CR, WRITE);
    for (unsigned i = 0; i < count; i += 2)
        nic_out(DATA, from[i] | (uint32_t)(i + 1 < count ? from[i + 1] : 0) << 8, 2);
    ck_assert_uint_eq(in(ISR)&RDC, RDC);
    out(ISR, RDC);
    out(CR, START);
}

/* -- Tests -- */

START_TEST(identity_and_prom)
{
    uint8_t prom[32];
    ck_assert_uint_eq(pci_config_read(nic_bench.pci.pci, NIC_DEVFN, 0, 4), 0x802910ec);
    ck_assert_uint_eq(in(CR), 0x21);
    ck_assert_uint_eq(in(ISR), RST);
    ck_assert_uint_eq(in(0x0a), 0x50);
    ck_assert_uint_eq(in(0x0b), 0x43);
    out(CR, STOP | PAGE_3);
    ck_assert_uint_eq(in(0x0e), 0x29);
    ck_assert_uint_eq(in(0x0f), 0x80);
    out(6, 0x40); /* CONFIG3 is locked */
    ck_assert_uint_eq(in(6), 0);
    out(1, 0xc0);
    out(6, 0xff);
    ck_assert_uint_eq(in(6), 0x40);
    out(CR, STOP);

    start_driver(AB);
    read_card(0, prom, sizeof prom);
    for (unsigned i = 0; i < 6; i++) {
        ck_assert_uint_eq(prom[2 * i], nic_mac[i]);
        ck_assert_uint_eq(prom[2 * i + 1], nic_mac[i]);
    }
    ck_assert_mem_eq(prom + 28, "WWWW", 4);
    /* In word mode a byte access moves a word. */
    set_dma(0, 12);
    out(CR, READ);
    for (unsigned i = 0; i < 6; i++)
        ck_assert_uint_eq(in(DATA), nic_mac[i]);
    ck_assert_uint_eq(in(DATA), 0xff); /* no more */
    in(RESET);
    ck_assert_uint_eq(in(ISR), RST);
    ck_assert_uint_eq(in(CR), 0x21);
}
END_TEST

START_TEST(pages)
{
    start_driver(AB);
    out(CR, START | PAGE_1);
    for (unsigned i = 0; i < 6; i++)
        ck_assert_uint_eq(in(PAR0 + i), nic_mac[i]);
    for (unsigned i = 0; i < 8; i++)
        out(MAR0 + i, 0x10 + i);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(in(MAR0 + i), 0x10 + i);
    ck_assert_uint_eq(in(CURR), FIRST + 1);
    out(CR, START | PAGE_2);
    ck_assert_uint_eq(in(1), FIRST);
    ck_assert_uint_eq(in(2), LAST);
    ck_assert_uint_eq(in(12), AB);
    ck_assert_uint_eq(in(14), 0x49);
    ck_assert_uint_eq(in(15), PRX | PTX);
}
END_TEST

START_TEST(remote_dma)
{
    uint8_t data[601], back[601];
    start_driver(AB);
    nic_make_frame(data, nic_mac, sizeof data, 3);
    write_card(TX_PAGE << 8, data, sizeof data);
    read_card(TX_PAGE << 8, back, sizeof back);
    ck_assert_mem_eq(back, data, sizeof data);
    /* Doublewords, and the ring's end that leads to its start. */
    write_card((LAST << 8) - 4, data, 12);
    set_dma((LAST << 8) - 4, 12);
    out(CR, READ);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(nic_in(DATA, 4), pci_get(data, 4 * i, 4));
    out(CR, START);
    read_card(FIRST << 8, back, 8);
    ck_assert_mem_eq(back, data + 4, 8);
    /* The PROM does not change; beyond the memory there is nothing. */
    write_card(0, data, 16);
    read_card(0, back, 16);
    ck_assert_uint_eq(back[0], nic_mac[0]);
    read_card(0xfff0, back, 16);
    ck_assert_uint_eq(back[0], 0xff);
    /* Nothing to move: complete at once. */
    set_dma(0x4000, 0);
    out(CR, READ);
    ck_assert_uint_eq(in(ISR)&RDC, RDC);
}
END_TEST

START_TEST(transmits)
{
    uint8_t frame[300];
    start_driver(AB);
    nic_make_frame(frame, broadcast, sizeof frame, 9);
    write_card(TX_PAGE << 8, frame, sizeof frame);
    out(TPSR, TX_PAGE);
    out(TBCR0, sizeof frame & 0xff);
    out(TBCR1, sizeof frame >> 8);
    out(CR, TRANSMIT);
    ck_assert_uint_eq(nic_bench.sent_count, 1);
    ck_assert_uint_eq(nic_bench.sent_length[0], sizeof frame);
    ck_assert_mem_eq(nic_bench.sent[0], frame, sizeof frame);
    ck_assert_uint_eq(in(CR), START);
    ck_assert_uint_eq(in(TSR)&1, 1);
    ck_assert(nic_bench.pci.irq);
    out(ISR, PTX);
    ck_assert(!nic_bench.pci.irq);

    out(TCR, 2); /* internal loopback: stays here */
    out(CR, TRANSMIT);
    ck_assert_uint_eq(nic_bench.sent_count, 1);
    out(TCR, 0);
    out(TBCR1, 0xff);
    out(CR, TRANSMIT);
    ck_assert_uint_eq(nic_bench.sent_count, 1);
    out(TBCR1, 0);
    out(CR, STOP | 4); /* stopped: nothing leaves */
    ck_assert_uint_eq(nic_bench.sent_count, 1);
}
END_TEST

/* The frame at page `at`; returns the next one's. */
static unsigned check_frame(unsigned at, const uint8_t *frame, unsigned length, unsigned status)
{
    uint8_t header[4], stored[1600];
    read_card(at << 8, header, 4);
    ck_assert_uint_eq(header[0], status);
    ck_assert_uint_eq(pci_get(header, 2, 2), length + 8);
    unsigned start = (at << 8) + 4;
    read_card(start, stored, length + 4); /* wraps by itself */
    ck_assert_mem_eq(stored, frame, length);
    ck_assert_uint_eq(pci_get(stored, length, 4), ethernet_fcs(frame, length));
    return header[1];
}

START_TEST(ring_wraps_and_holds_back)
{
    uint8_t frame[1514];
    unsigned at = FIRST + 1;
    start_driver(AB);
    for (unsigned i = 0; i < 60; i++) {
        unsigned length = 60 + 24 * i;
        nic_make_frame(frame, nic_mac, length, i);
        ck_assert(nic_bench_receive(&nic_bench, frame, length));
        ck_assert_uint_eq(in(RSR), 1);
        ck_assert(nic_bench.pci.irq);
        at = check_frame(at, frame, length, 1);
        ck_assert(at >= FIRST && at < LAST);
        out(CR, START | PAGE_1);
        ck_assert_uint_eq(in(CURR), at);
        out(CR, START);
        out(BNRY, at == FIRST && i < 30 ? LAST - 1 : at - 1); /* Linux's driver: in any case */
        out(ISR, PRX);
        ck_assert(!nic_bench.pci.irq);
    }
    /* 25 pages are free: four frames of six pages. The fifth waits. */
    nic_make_frame(frame, nic_mac, 1514, 77);
    for (unsigned i = 0; i < 4; i++)
        ck_assert(nic_bench_receive(&nic_bench, frame, 1514));
    ck_assert(!nic_bench.port.can_receive(nic_bench.port.nic));
    ck_assert(!nic_bench_receive(&nic_bench, frame, 1514));
    out(ISR, PRX);
    nic_bench_tick(&nic_bench, 1000000); /* the driver hears of what it has left in the ring */
    ck_assert_uint_eq(in(ISR)&PRX, PRX);
    ck_assert_uint_gt(nic_bench.held_length, 0);
    at = check_frame(at, frame, 1514, 1);
    out(BNRY, at == FIRST ? LAST - 1 : at - 1);
    ck_assert_uint_eq(nic_bench.held_length, 0);
}
END_TEST

/* Linux's driver chooses pages by commands without STA, and frames arrive in between. */
START_TEST(stays_started)
{
    uint8_t frame[100];
    start_driver(AB);
    out(CR, PAGE_1 | 0x20);
    nic_make_frame(frame, nic_mac, sizeof frame, 1);
    ck_assert(nic_bench_receive(&nic_bench, frame, sizeof frame));
    out(CR, 0x20);
    ck_assert_uint_eq(in(ISR)&PRX, PRX);
    check_frame(FIRST + 1, frame, sizeof frame, 1);
}
END_TEST

START_TEST(send_packet_command)
{
    uint8_t frame[100], stored[108];
    start_driver(AB);
    nic_make_frame(frame, nic_mac, sizeof frame, 4);
    ck_assert(nic_bench_receive(&nic_bench, frame, sizeof frame));
    out(BNRY, FIRST + 1);
    out(CR, SEND);
    for (unsigned i = 0; i < sizeof stored; i += 2)
        pci_put(stored, i, nic_in(DATA, 2), 2);
    ck_assert_mem_eq(stored + 4, frame, sizeof frame);
    ck_assert_uint_eq(in(ISR)&RDC, RDC);
    ck_assert_uint_eq(in(BNRY), FIRST + 2);
}
END_TEST

static bool accepted(const uint8_t to[6], unsigned rcr)
{
    uint8_t frame[60];
    start_driver(rcr);
    nic_make_frame(frame, to, sizeof frame, 5);
    nic_bench_receive(&nic_bench, frame, sizeof frame);
    return in(ISR)&PRX;
}

START_TEST(address_filters)
{
    static const uint8_t other[6] = {2, 1, 2, 3, 4, 5}, group[6] = {0x33, 0x33, 0, 0, 0, 1};
    unsigned hash = ethernet_hash(group);
    ck_assert(accepted(nic_mac, 0) && !accepted(other, 0) && !accepted(broadcast, 0));
    ck_assert(accepted(other, PRO) && accepted(broadcast, AB));
    ck_assert(!accepted(group, AM | AB));
    out(CR, STOP | PAGE_1);
    out(MAR0 + hash / 8, 1u << hash % 8);
    ck_assert(accepted(group, AM) && !accepted(group, AB));
    ck_assert(!accepted(nic_mac, MON));
}
END_TEST

/* -- Hostile guests, saving -- */

static unsigned noise_steps = 100000;

START_TEST(noise_does_no_harm)
{
    uint8_t frame[1600];
    uint64_t seed = 3;
    unsigned saved_log = log_items;
    log_items = 0;
    for (unsigned i = 0; i < noise_steps; i++) {
        unsigned size = 1u << nic_noise(&seed) % 3;
        if (nic_noise(&seed) % 2)
            nic_out(nic_noise(&seed) % (33 - size), nic_noise(&seed), size);
        else if (nic_noise(&seed) % 2)
            nic_in(nic_noise(&seed) % (24 + 1 - size), size);
        if (nic_noise(&seed) % 64 == 0)
            start_driver(AB | PRO);
        if (nic_noise(&seed) % 8 == 0) {
            out(CR, START);
            out(TBCR1, nic_noise(&seed) % 7);
            out(CR, nic_noise(&seed) % 2 ? START : TRANSMIT);
            nic_make_frame(frame, nic_noise(&seed) % 2 ? nic_mac : broadcast, 60, 1);
            nic_bench_receive(&nic_bench, frame, 14 + nic_noise(&seed) % 1500);
            nic_bench_tick(&nic_bench, nic_noise(&seed) % 2000000);
        }
    }
    log_items = saved_log;
    ck_assert_uint_gt(nic_bench.sent_count, noise_steps / 100);
    ck_assert_uint_gt(nic_bench.pci.irqs, noise_steps / 100);
    nic_bench.held_length = 0;
    in(RESET);
    start_driver(AB);
    nic_make_frame(frame, nic_mac, 100, 2);
    ck_assert(nic_bench_receive(&nic_bench, frame, 100));
    check_frame(FIRST + 1, frame, 100, 1);
}
END_TEST

START_TEST(saved_in_the_middle)
{
    static struct nic_bench copy;
    uint8_t frame[100];
    start_driver(AB);
    nic_make_frame(frame, nic_mac, sizeof frame, 4);
    ck_assert(nic_bench_receive(&nic_bench, frame, sizeof frame));
    set_dma((FIRST + 1) << 8, 50);
    out(CR, READ);
    nic_in(DATA, 2);
    nic_bench_build(&copy);
    ne2000_new(&copy.pci.devices, copy.pci.pci, NIC_DEVFN, copy.pci.clock, nic_mac, &copy.port,
               "nic0");
    pci_bench_copy_state(&copy.pci, &nic_bench.pci);
    pci_bench_free(&copy.pci);
}
END_TEST

int main(int argc, char **argv)
{
    const TTest *const tests[] = {
        identity_and_prom,
        pages,
        remote_dma,
        transmits,
        ring_wraps_and_holds_back,
        stays_started,
        send_packet_command,
        address_filters,
        noise_does_no_harm,
        saved_in_the_middle,
    };
    if (argc > 1)
        noise_steps = (unsigned)strtoul(argv[1], NULL, 10);
    return suite_main("ne2000", setup, teardown, tests, sizeof tests / sizeof *tests);
}
