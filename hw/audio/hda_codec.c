/*
 * A High Definition Audio codec of the smallest useful kind. Specification: High Definition Audio
 * 1.0a, 7 (codec features and requirements).
 *
 *     node 0  root
 *     node 1    audio function group
 *     node 2      output converter with a volume --> node 3  line out, a green jack
 *     node 4      input converter  <-------------- node 5  line in, a blue jack: always silent
 *
 * Any format of the specification's rates with 16, 20, 24 or 32 bits is converted. Drivers know
 * no peculiarities of this codec: they read its parameters.
 *
 * Not modelled: presence detection and unsolicited responses, S/PDIF, GPIO, beep generator,
 * processing coefficients, EAPD.
 */
#include "hw/audio/hda_codec.h"
#include "cpu/log.h"
#include "hw/pci.h"

#include <math.h>
#include <string.h>

enum { ROOT, FUNCTION, DAC, LINE_OUT, ADC, LINE_IN };

/* -- Parameters (7.3.4) -- */

enum parameter {
    P_VENDOR = 0x00,
    P_REVISION = 0x02,
    P_NODES = 0x04,
    P_FUNCTION_TYPE = 0x05,
    P_FUNCTION = 0x08,
    P_WIDGET = 0x09,
    P_PCM = 0x0a,
    P_STREAMS = 0x0b,
    P_PIN = 0x0c,
    P_INPUT_AMPLIFIER = 0x0d,
    P_CONNECTIONS = 0x0e,
    P_POWER = 0x0f,
    P_GPIO = 0x11,
    P_OUTPUT_AMPLIFIER = 0x12,
};

#define WIDGET_STEREO      0x0001
#define WIDGET_OUTPUT_AMP  0x0004
#define WIDGET_OWN_AMP     0x0008
#define WIDGET_CONNECTIONS 0x0100
#define WIDGET(type)       ((uint32_t)(type) << 20)
enum { TYPE_OUTPUT, TYPE_INPUT, TYPE_PIN = 4 };

#define PCM_BITS     0x001e0000u /* 16, 20, 24, 32 */
#define PCM_RATES    0x000007ffu /* 8 to 192 kHz */
#define PIN_OUTPUT   0x10
#define PIN_INPUT    0x20

#define GAIN_MAX     63   /* 0 dB */
#define GAIN_STEP_DB 0.75 /* 2 is three quarters of a decibel here */
#define AMPLIFIER    (GAIN_MAX | GAIN_MAX << 8 | 2 << 16 | 1u << 31)
#define MUTE         0x80

static const struct {
    uint8_t node, parameter;
    uint32_t value;
} parameters[] = {
    {ROOT, P_VENDOR, PCI_SUBSYSTEM_VENDOR_VIRTUAL << 16 | 0x4450},
    {ROOT, P_REVISION, 0x00100100},
    {ROOT, P_NODES, FUNCTION << 16 | 1},
    {FUNCTION, P_NODES, DAC << 16 | (LINE_IN - DAC + 1)},
    {FUNCTION, P_FUNCTION_TYPE, 1},
    {FUNCTION, P_PCM, PCM_BITS | PCM_RATES},
    {FUNCTION, P_STREAMS, 1},
    {FUNCTION, P_POWER, 0x0f},
    {DAC, P_WIDGET, WIDGET(TYPE_OUTPUT) | WIDGET_STEREO | WIDGET_OUTPUT_AMP | WIDGET_OWN_AMP},
    {DAC, P_OUTPUT_AMPLIFIER, AMPLIFIER},
    {LINE_OUT, P_WIDGET, WIDGET(TYPE_PIN) | WIDGET_STEREO | WIDGET_CONNECTIONS},
    {LINE_OUT, P_PIN, PIN_OUTPUT},
    {LINE_OUT, P_CONNECTIONS, 1},
    {ADC, P_WIDGET, WIDGET(TYPE_INPUT) | WIDGET_STEREO | WIDGET_CONNECTIONS},
    {ADC, P_CONNECTIONS, 1},
    {LINE_IN, P_WIDGET, WIDGET(TYPE_PIN) | WIDGET_STEREO},
    {LINE_IN, P_PIN, PIN_INPUT},
};

static uint32_t parameter(unsigned node, unsigned number)
{
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
        if (parameters[i].node == node && parameters[i].parameter == number)
            return parameters[i].value;
    return 0;
}

static bool is_converter(unsigned node)
{
    return node == DAC || node == ADC;
}

static bool is_pin(unsigned node)
{
    return node == LINE_OUT || node == LINE_IN;
}

/* -- State -- */

/* Jacks at the rear, 1/8 inch, without presence detection (7.3.3.31). */
#define DEFAULT_LINE_OUT 0x01014110u
#define DEFAULT_LINE_IN  0x01813120u

#define FORMAT_DEFAULT   0x0011 /* 48 kHz, 16 bits, stereo */
#define PIN_OUT_ENABLE   0x40
#define PIN_IN_ENABLE    0x20
#define POWER_OFF        3

const struct field hda_codec_fields[] = {
    FIELD(struct hda_codec, power, 1),
    FIELD(struct hda_codec, subsystem, 1),
    FIELD_ARRAY(struct hda_codec, format, 1),
    FIELD_ARRAY(struct hda_codec, stream, 1),
    {"amplifier", offsetof(struct hda_codec, amplifier), 1, 2 * HDA_NODES, NULL, 1, false},
    FIELD_ARRAY(struct hda_codec, pin_control, 1),
    FIELD_ARRAY(struct hda_codec, pin_default, 1),
    FIELD_END,
};

void hda_codec_reset(struct hda_codec *codec)
{
    codec->power = POWER_OFF;
    memset(codec->stream, 0, sizeof codec->stream);
    memset(codec->pin_control, 0, sizeof codec->pin_control);
    codec->format[DAC] = codec->format[ADC] = FORMAT_DEFAULT;
    codec->amplifier[DAC][0] = codec->amplifier[DAC][1] = GAIN_MAX | MUTE;
}

void hda_codec_power_on(struct hda_codec *codec)
{
    memset(codec, 0, sizeof *codec);
    codec->subsystem = (uint32_t)PCI_SUBSYSTEM_VENDOR_VIRTUAL << 16 | PCI_SUBSYSTEM_VIRTUAL;
    codec->pin_default[LINE_OUT] = DEFAULT_LINE_OUT;
    codec->pin_default[LINE_IN] = DEFAULT_LINE_IN;
    hda_codec_reset(codec);
}

/* -- Verbs (7.3.3) -- */

enum verb {
    /* of four bits, with 16 bits of payload */
    V_SET_FORMAT = 0x2,
    V_SET_AMPLIFIER = 0x3,
    V_GET_FORMAT = 0xa,
    V_GET_AMPLIFIER = 0xb,
    /* of twelve bits */
    V_SET_CONNECTION = 0x701,
    V_SET_POWER = 0x705,
    V_SET_STREAM = 0x706,
    V_SET_PIN_CONTROL = 0x707,
    V_SET_UNSOLICITED = 0x708,
    V_SET_PIN_DEFAULT = 0x71c, /* four verbs, a byte each */
    V_SET_SUBSYSTEM = 0x720,   /* likewise */
    V_FUNCTION_RESET = 0x7ff,
    V_GET_PARAMETER = 0xf00,
    V_GET_CONNECTION = 0xf01,
    V_GET_CONNECTION_LIST = 0xf02,
    V_GET_LINK_INPUT = 0xf04, /* which of several wires a converter sends on */
    V_GET_POWER = 0xf05,
    V_GET_STREAM = 0xf06,
    V_GET_PIN_CONTROL = 0xf07,
    V_GET_UNSOLICITED = 0xf08,
    V_GET_PIN_SENSE = 0xf09,
    V_GET_PIN_DEFAULT = 0xf1c,
    V_GET_SUBSYSTEM = 0xf20,
};

#define AMPLIFIER_OUTPUT 0x8000
#define AMPLIFIER_LEFT   0x2000
#define AMPLIFIER_RIGHT  0x1000
#define GET_LEFT         0x2000

static uint32_t connection(unsigned node, unsigned first)
{
    if (first > 0)
        return 0;
    return node == LINE_OUT ? DAC : node == ADC ? LINE_IN : 0;
}

static void set_amplifier(struct hda_codec *codec, unsigned node, uint16_t payload)
{
    if (node != DAC || !(payload & AMPLIFIER_OUTPUT))
        return;
    if (payload & AMPLIFIER_LEFT)
        codec->amplifier[DAC][0] = (uint8_t)payload & (MUTE | GAIN_MAX);
    if (payload & AMPLIFIER_RIGHT)
        codec->amplifier[DAC][1] = (uint8_t)payload & (MUTE | GAIN_MAX);
}

static void set_byte(uint32_t *number, unsigned byte, uint8_t value)
{
    *number = (*number & ~(0xffu << (8 * byte))) | (uint32_t)value << (8 * byte);
}

/* A verb of twelve bits that sets; false if this node does not know it. */
static bool set(struct hda_codec *codec, unsigned node, unsigned verb, uint8_t payload)
{
    switch (verb) {
    case V_SET_CONNECTION: /* nothing has more than one */
    case V_SET_UNSOLICITED:
        return node > FUNCTION;
    case V_SET_POWER:
        if (node == FUNCTION)
            codec->power = payload & 3;
        return node == FUNCTION;
    case V_SET_STREAM:
        if (is_converter(node))
            codec->stream[node] = payload;
        return is_converter(node);
    case V_SET_PIN_CONTROL:
        if (is_pin(node))
            codec->pin_control[node] =
                payload & (node == LINE_OUT ? PIN_OUT_ENABLE : PIN_IN_ENABLE);
        return is_pin(node);
    case V_SET_PIN_DEFAULT ... V_SET_PIN_DEFAULT + 3:
        if (is_pin(node))
            set_byte(&codec->pin_default[node], verb - V_SET_PIN_DEFAULT, payload);
        return is_pin(node);
    case V_SET_SUBSYSTEM ... V_SET_SUBSYSTEM + 3:
        if (node == FUNCTION)
            set_byte(&codec->subsystem, verb - V_SET_SUBSYSTEM, payload);
        return node == FUNCTION;
    case V_FUNCTION_RESET:
        if (node == FUNCTION)
            hda_codec_reset(codec);
        return node == FUNCTION;
    }
    return false;
}

/* One that gets. */
static bool get(const struct hda_codec *codec, unsigned node, unsigned verb, uint8_t payload,
                uint32_t *answer)
{
    switch (verb) {
    case V_GET_PARAMETER:
        *answer = parameter(node, payload);
        return true;
    case V_GET_CONNECTION:
    case V_GET_LINK_INPUT:
    case V_GET_UNSOLICITED:
    case V_GET_PIN_SENSE:
        return true;
    case V_GET_CONNECTION_LIST:
        *answer = connection(node, payload);
        return true;
    case V_GET_POWER: /* as set, as it is */
        *answer = (uint32_t)(codec->power | codec->power << 4);
        return true;
    case V_GET_STREAM:
        *answer = codec->stream[node];
        return true;
    case V_GET_PIN_CONTROL:
        *answer = codec->pin_control[node];
        return true;
    case V_GET_PIN_DEFAULT:
        *answer = codec->pin_default[node];
        return true;
    case V_GET_SUBSYSTEM:
        *answer = codec->subsystem;
        return true;
    }
    return false;
}

uint32_t hda_codec_command(struct hda_codec *codec, uint32_t command)
{
    unsigned node = command >> 20 & 0xff, verb = command >> 8 & 0xfff;
    uint32_t answer = 0;
    if (node >= HDA_NODES)
        return 0;
    switch (verb >> 8) {
    case V_SET_FORMAT:
        if (is_converter(node))
            codec->format[node] = (uint16_t)command;
        return 0;
    case V_GET_FORMAT:
        return codec->format[node];
    case V_SET_AMPLIFIER:
        set_amplifier(codec, node, (uint16_t)command);
        return 0;
    case V_GET_AMPLIFIER:
        return command & AMPLIFIER_OUTPUT ? codec->amplifier[node][command & GET_LEFT ? 0 : 1] : 0;
    }
    if (!set(codec, node, verb, (uint8_t)command) &&
        !get(codec, node, verb, (uint8_t)command, &answer))
        log_guest("hda: node %u does not know verb %#x", node, verb);
    return answer;
}

/* -- What is heard -- */

int hda_codec_output_channel(const struct hda_codec *codec, unsigned stream)
{
    return stream && codec->stream[DAC] >> 4 == stream ? codec->stream[DAC] & 15 : -1;
}

void hda_codec_gain(const struct hda_codec *codec, int32_t gain[2])
{
    for (int side = 0; side < 2; side++) {
        uint8_t amplifier = codec->amplifier[DAC][side];
        bool silent = amplifier & MUTE || codec->power != 0 ||
                      !(codec->pin_control[LINE_OUT] & PIN_OUT_ENABLE);
        double decibels = ((amplifier & GAIN_MAX) - GAIN_MAX) * GAIN_STEP_DB;
        gain[side] = silent ? 0 : (int32_t)(65536 * pow(10, decibels / 20));
    }
}
