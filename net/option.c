/*
 * The text of --net: a kind of network, then settings, separated by commas.
 */
#include "net/net.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* Locally administered; the last bytes spell the program's name. */
static const uint8_t default_mac[6] = {0x02, 0x64, 0x6f, 0x70, 0x00, 0x01};

static const char forward_form[] = "forward=tcp:[ADDRESS:]HOSTPORT:GUESTPORT (or udp:...)";

static bool parse_port(const char *text, uint16_t *port)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || value < 1 || value > 65535)
        return false;
    *port = (uint16_t)value;
    return true;
}

/* PROTOCOL:[ADDRESS:]HOSTPORT:GUESTPORT */
static bool parse_forward(struct net_options *options, const char *value, struct error *error)
{
    struct net_user_options *user = &options->user;
    struct net_forward forward = {.host_address.s_addr = htonl(INADDR_LOOPBACK)};
    char text[128], *part[5];
    int parts = 0;

    if (!value || strlen(value) >= sizeof text)
        return error_set(error, "--net user: forward needs a value: %s", forward_form);
    strcpy(text, value);
    for (char *rest = text, *piece; parts < 5 && (piece = strsep(&rest, ":")) != NULL;)
        part[parts++] = piece;
    if (parts != 3 && parts != 4)
        return error_set(error, "--net user: 'forward=%s' is not of the form %s", value,
                         forward_form);
    forward.udp = !strcmp(part[0], "udp");
    if (!forward.udp && strcmp(part[0], "tcp"))
        return error_set(error, "--net user: 'forward=%s': the protocol is tcp or udp, not '%s'",
                         value, part[0]);
    if (parts == 4 && inet_pton(AF_INET, part[1], &forward.host_address) != 1)
        return error_set(error, "--net user: 'forward=%s': '%s' is not an IPv4 address", value,
                         part[1]);
    for (int i = 0; i < 2; i++)
        if (!parse_port(part[parts - 2 + i], i ? &forward.guest_port : &forward.host_port))
            return error_set(error,
                             "--net user: 'forward=%s': the %s port '%s' is not between 1 and "
                             "65535",
                             value, i ? "guest's" : "host's", part[parts - 2 + i]);
    if (user->forwards == NET_FORWARDS)
        return error_set(error, "--net user: more than %d forwards", NET_FORWARDS);
    user->forward[user->forwards++] = forward;
    return true;
}

static bool parse_mac(struct net_options *options, const char *value, struct error *error)
{
    unsigned byte[6];
    int end = 0;
    if (!value || strlen(value) != 17 ||
        sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%n", &byte[0], &byte[1], &byte[2], &byte[3], &byte[4],
               &byte[5], &end) != 6 ||
        end != 17)
        return error_set(error,
                         "--net user: mac needs six bytes such as 02:64:6f:70:00:02, not '%s'",
                         value ? value : "");
    if (byte[0] & 1)
        return error_set(
            error, "--net user: mac=%s is a multicast address; the first byte must be even", value);
    for (int i = 0; i < 6; i++)
        options->mac[i] = (uint8_t)byte[i];
    return true;
}

static const struct {
    const char *name;
    enum net_model model;
} models[] = {
    {"e1000", NET_E1000}, {"rtl8139", NET_RTL8139}, {"rtl8139c", NET_RTL8139C},
    {"ne2k", NET_NE2000}, {"virtio", NET_VIRTIO},
};

static bool parse_model(struct net_options *options, const char *value, struct error *error)
{
    for (size_t i = 0; value && i < sizeof models / sizeof *models; i++)
        if (!strcmp(value, models[i].name)) {
            options->model = models[i].model;
            return true;
        }
    return error_set(error,
                     "--net user: no network card model is called '%s'; there are e1000, rtl8139, "
                     "rtl8139c, ne2k and virtio",
                     value ? value : "");
}

static bool parse_restrict(struct net_options *options, const char *value, struct error *error)
{
    if (value)
        return error_set(error, "--net user: restrict takes no value");
    options->user.restricted = true;
    return true;
}

/* Copies the value of a setting that needs one. `what` says what is missing. */
static bool parse_text(char *to, size_t size, const char *name, const char *value, const char *what,
                       struct error *error)
{
    if (!value || !*value)
        return error_set(error, "--net user: %s needs %s", name, what);
    if (strlen(value) >= size)
        return error_set(error, "--net user: the value of %s is too long; %zu characters fit", name,
                         size - 1);
    strcpy(to, value);
    return true;
}

static bool parse_capture(struct net_options *options, const char *value, struct error *error)
{
    return parse_text(options->capture, sizeof options->capture, "capture", value,
                      "a file name: capture=FILE.pcap", error);
}

static bool parse_tftp(struct net_options *options, const char *value, struct error *error)
{
    return parse_text(options->user.tftp, sizeof options->user.tftp, "tftp", value,
                      "a folder: tftp=FOLDER", error);
}

static bool parse_boot_file(struct net_options *options, const char *value, struct error *error)
{
    return parse_text(options->user.boot_file, sizeof options->user.boot_file, "bootfile", value,
                      "a file in the TFTP folder, or a URL: bootfile=NAME", error);
}

static const struct {
    const char *name;
    bool (*parse)(struct net_options *options, const char *value, struct error *error);
} settings[] = {
    {"forward", parse_forward},   {"model", parse_model}, {"mac", parse_mac},
    {"restrict", parse_restrict}, {"tftp", parse_tftp},   {"bootfile", parse_boot_file},
    {"capture", parse_capture},
};

/* NAME or NAME=VALUE; `text` is taken apart. */
static bool parse_setting(struct net_options *options, char *text, struct error *error)
{
    char *value = strchr(text, '=');
    if (value)
        *value++ = 0;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (!strcmp(text, settings[i].name))
            return settings[i].parse(options, value, error);
    return error_set(error,
                     "--net user: unknown setting '%s'; known are forward, model, mac, restrict, "
                     "tftp, bootfile and capture",
                     text);
}

static bool parse_kind(struct net_options *options, const char *kind, bool alone,
                       struct error *error)
{
    if (!strcmp(kind, "user")) {
        options->kind = NET_USER;
        return true;
    }
    if (!strcmp(kind, "none")) {
        options->kind = NET_NONE;
        return alone || error_set(error, "--net none takes no settings");
    }
    if (!strncmp(kind, "switch=", 7) || !strcmp(kind, "switch"))
        return error_set(error, "--net switch is not built yet; 'user' and 'none' are");
    if (!strncmp(kind, "tap=", 4) || !strcmp(kind, "tap"))
        return error_set(error, "--net tap is not built yet; 'user' and 'none' are");
    return error_set(error, "--net: no network is called '%s'; 'user' and 'none' are", kind);
}

bool net_options_parse(struct net_options *options, const char *text, struct error *error)
{
    *options = (struct net_options){0};
    memcpy(options->mac, default_mac, sizeof options->mac);

    char *copy = strdup(text);
    if (!copy)
        return error_set(error, "Out of memory");
    char *rest = copy;
    char *kind = strsep(&rest, ",");
    bool ok = parse_kind(options, kind, rest == NULL, error);
    while (ok && rest)
        ok = parse_setting(options, strsep(&rest, ","), error);
    free(copy);
    return ok;
}
