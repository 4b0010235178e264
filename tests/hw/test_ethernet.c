/*
 * What network cards share: the serial EEPROM, multicast hash, FCS and IPv4 checksums.
 */
#include "hw/network/checksum.h"
#include "hw/network/eeprom93.h"
#include "hw/network/ethernet.h"
#include "tests/hw/suite.h"

#include <string.h>

static struct eeprom93 eeprom;

static void setup(void)
{
    memset(&eeprom, 0, sizeof eeprom);
    for (unsigned i = 0; i < EEPROM93_WORDS; i++)
        eeprom.word[i] = (uint16_t)(0x1234 + 0x101 * i);
    eeprom93_release(&eeprom);
}

static void teardown(void)
{
}

/* -- The EEPROM, bit by bit -- */

static bool clock_bit(bool in)
{
    eeprom93_set_pins(&eeprom, true, false, in);
    eeprom93_set_pins(&eeprom, true, true, in);
    return eeprom.data_out;
}

static void send_bits(uint32_t value, unsigned count)
{
    while (count--)
        clock_bit(value >> count & 1);
}

static uint16_t receive_word(void)
{
    uint16_t word = 0;
    for (int i = 0; i < 16; i++)
        word = (uint16_t)(word << 1 | clock_bit(false));
    return word;
}

static void deselect(void)
{
    eeprom93_set_pins(&eeprom, false, false, false);
}

static uint16_t read_word(unsigned address)
{
    send_bits(6u << 6 | address, 9);
    uint16_t word = receive_word();
    deselect();
    return word;
}

START_TEST(eeprom_reads_in_sequence)
{
    send_bits(0, 5); /* nothing until the start bit */
    send_bits(6u << 6 | 62, 9);
    ck_assert(!eeprom.data_out); /* the zero before data */
    ck_assert_uint_eq(receive_word(), eeprom.word[62]);
    ck_assert_uint_eq(receive_word(), eeprom.word[63]);
    ck_assert_uint_eq(receive_word(), eeprom.word[0]);
    deselect();
    send_bits(6u << 6 | 9, 7); /* cut off */
    deselect();
    ck_assert_uint_eq(read_word(7), 0x1234 + 7 * 0x101);
}
END_TEST

START_TEST(eeprom_writes_when_allowed)
{
    send_bits((5u << 6 | 3) << 16 | 0xbeef, 25);
    deselect();
    ck_assert_uint_eq(read_word(3), 0x1234 + 3 * 0x101); /* not enabled */
    send_bits(4u << 6 | 0x30, 9);                        /* EWEN */
    deselect();
    send_bits((5u << 6 | 3) << 16 | 0xbeef, 25);
    ck_assert(eeprom.data_out); /* ready */
    deselect();
    ck_assert_uint_eq(read_word(3), 0xbeef);
    send_bits(7u << 6 | 4, 9); /* ERASE */
    deselect();
    ck_assert_uint_eq(read_word(4), 0xffff);
    ck_assert_uint_eq(read_word(5), 0x1234 + 5 * 0x101);
    send_bits((4u << 6 | 0x10) << 16 | 0x5aa5, 25); /* WRAL */
    deselect();
    ck_assert_uint_eq(read_word(0), 0x5aa5);
    ck_assert_uint_eq(read_word(63), 0x5aa5);
    send_bits(4u << 6 | 0x20, 9); /* ERAL */
    deselect();
    ck_assert_uint_eq(read_word(31), 0xffff);
    send_bits(4u << 6 | 0x00, 9); /* EWDS */
    deselect();
    send_bits((5u << 6 | 3) << 16 | 0xbeef, 25);
    deselect();
    ck_assert_uint_eq(read_word(3), 0xffff);
}
END_TEST

/* -- Frames -- */

/* The usual way to compute it: bit by bit, most significant first. */
static unsigned slow_hash(const uint8_t *address)
{
    uint32_t crc = UINT32_MAX;
    for (int i = 0; i < 6; i++)
        for (int bit = 0; bit < 8; bit++)
            crc = crc << 1 ^ ((crc >> 31 ^ (uint32_t)(address[i] >> bit & 1)) ? 0x04c11db7 : 0);
    return crc >> 26;
}

START_TEST(hash_and_kind)
{
    static const uint8_t addresses[][6] = {
        {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}, {0x33, 0x33, 0x00, 0x00, 0x00, 0x01},
        {0x01, 0x80, 0xc2, 0x00, 0x00, 0x00}, {0x33, 0x33, 0xff, 0x12, 0x34, 0x56},
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x02, 0x64, 0x6f, 0x70, 0x00, 0x01},
    };
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        ck_assert_uint_eq(ethernet_hash(addresses[i]), slow_hash(addresses[i]));
    ck_assert_int_eq(ethernet_kind(addresses[0]), ETHERNET_MULTICAST);
    ck_assert_int_eq(ethernet_kind(addresses[4]), ETHERNET_BROADCAST);
    ck_assert_int_eq(ethernet_kind(addresses[5]), ETHERNET_UNICAST);
    ck_assert_uint_eq(ethernet_fcs((const uint8_t *)"123456789", 9), 0xcbf43926);
}
END_TEST

static size_t make_frame(uint8_t *frame, uint8_t protocol, size_t payload)
{
    memset(frame, 0, 34 + payload);
    store16(frame + 12, ETHERTYPE_IPV4);
    uint8_t *ip = frame + 14;
    ip[0] = 0x45;
    store16(ip + 2, (uint32_t)(20 + payload));
    ip[8] = 64;
    ip[9] = protocol;
    store32(ip + 12, 0x0a00020f);
    store32(ip + 16, 0x0a000202);
    for (size_t i = 0; i < payload; i++)
        frame[34 + i] = (uint8_t)(i * 7 + 1);
    return 34 + payload;
}

START_TEST(checksums)
{
    uint8_t frame[200];
    for (int udp = 0; udp < 2; udp++) {
        size_t length = make_frame(frame, udp ? PROTOCOL_UDP : PROTOCOL_TCP, 61);
        struct ipv4_check check = ipv4_check(frame, length);
        ck_assert(check.is_ip && check.header_bad && check.payload_bad);
        ck_assert_uint_eq(check.protocol, udp ? PROTOCOL_UDP : PROTOCOL_TCP);
        ipv4_fill_header(frame, &check);
        ipv4_fill_payload(frame, &check);
        check = ipv4_check(frame, length);
        ck_assert(check.is_ip && !check.header_bad && check.checked && !check.payload_bad);
        frame[length - 1] ^= 1;
        ck_assert(ipv4_check(frame, length).payload_bad);
        frame[14 + 8] ^= 1;
        ck_assert(ipv4_check(frame, length).header_bad);
        store16(frame + 14 + 6, 0x2000); /* more fragments */
        ck_assert_uint_eq(ipv4_check(frame, length).protocol, 0);
    }
    size_t length = make_frame(frame, PROTOCOL_UDP, 20);
    store16(frame + 34 + 6, 0);
    ck_assert(!ipv4_check(frame, length).checked); /* UDP without one */
    /* Lengths that lie. */
    ck_assert(!ipv4_check(frame, length - 1).is_ip);
    ck_assert(!ipv4_check(frame, 33).is_ip);
    frame[14] = 0x44;
    ck_assert(!ipv4_check(frame, length).is_ip);
    frame[14] = 0x4f;
    ck_assert(!ipv4_check(frame, length).is_ip); /* 60 bytes of header do not fit */
    length = make_frame(frame, PROTOCOL_TCP, 19);
    ck_assert_uint_eq(ipv4_check(frame, length).protocol, 0); /* no complete TCP header */
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {eeprom_reads_in_sequence, eeprom_writes_when_allowed,
                                  hash_and_kind, checksums};
    return suite_main("ethernet", setup, teardown, tests, sizeof tests / sizeof *tests);
}
