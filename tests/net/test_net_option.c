/*
 * The --net option: what is accepted, and which sentence each mistake gives.
 */
#include "net/net.h"

#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct net_options parsed(const char *text)
{
    struct net_options options;
    struct error error = {""};
    ck_assert_msg(net_options_parse(&options, text, &error), "%s: %s", text, error.text);
    return options;
}

START_TEST(accepted)
{
    struct net_options options = parsed("none");
    ck_assert_int_eq(options.kind, NET_NONE);

    options = parsed("user");
    ck_assert_int_eq(options.kind, NET_USER);
    ck_assert_uint_eq(options.user.forwards, 0);
    ck_assert(!options.user.restricted);
    ck_assert_uint_eq(options.mac[0] & 3, 2); /* unicast, locally administered */

    options = parsed("user,forward=tcp:2222:22,forward=udp:0.0.0.0:5353:53,model=e1000,"
                     "mac=52:54:00:aB:cd:ef,restrict,capture=a b.pcap");
    ck_assert_uint_eq(options.user.forwards, 2);
    ck_assert(!options.user.forward[0].udp);
    ck_assert_uint_eq(ntohl(options.user.forward[0].host_address.s_addr), 0x7f000001);
    ck_assert_uint_eq(options.user.forward[0].host_port, 2222);
    ck_assert_uint_eq(options.user.forward[0].guest_port, 22);
    ck_assert(options.user.forward[1].udp);
    ck_assert_uint_eq(options.user.forward[1].host_address.s_addr, 0);
    ck_assert_uint_eq(options.user.forward[1].host_port, 5353);
    ck_assert(options.user.restricted);
    ck_assert_mem_eq(options.mac, "\x52\x54\x00\xab\xcd\xef", 6);
    ck_assert_str_eq(options.capture, "a b.pcap");
    ck_assert_str_eq(options.user.tftp, "");

    options = parsed("user,model=ne2k,tftp=some/folder,bootfile=http://10.0.2.2/a");
    ck_assert_int_eq(options.model, NET_NE2000);
    ck_assert_str_eq(options.user.tftp, "some/folder");
    ck_assert_str_eq(options.user.boot_file, "http://10.0.2.2/a");
    ck_assert_int_eq(parsed("user,model=rtl8139").model, NET_RTL8139);
    ck_assert_int_eq(parsed("user,model=rtl8139c").model, NET_RTL8139C);
}
END_TEST

static const struct {
    const char *text, *words;
} mistakes[] = {
    {"", "no network is called ''"},
    {"usr", "no network is called 'usr'"},
    {"switch=lan", "switch is not built yet"},
    {"tap=tap0", "tap is not built yet"},
    {"none,restrict", "takes no settings"},
    {"user,", "unknown setting ''"},
    {"user,speed=9", "unknown setting 'speed'"},
    {"user,model=ne1000", "'ne1000'"},
    {"user,tftp", "needs a folder"},
    {"user,bootfile=", "needs a file"},
    {"user,model", "model"},
    {"user,mac=52:54:00", "six bytes"},
    {"user,mac=52:54:00:12:34:5g", "six bytes"},
    {"user,mac=53:54:00:12:34:56", "multicast"},
    {"user,mac=52:54:00:12:34:561", "six bytes"},
    {"user,restrict=yes", "takes no value"},
    {"user,capture=", "needs a file name"},
    {"user,forward", "needs a value"},
    {"user,forward=2222:22", "is not of the form"},
    {"user,forward=tcp:22", "is not of the form"},
    {"user,forward=tcp:1:2:3:4", "is not of the form"},
    {"user,forward=sctp:22:22", "tcp or udp"},
    {"user,forward=tcp:0:22", "host's port '0'"},
    {"user,forward=tcp:22:65536", "guest's port '65536'"},
    {"user,forward=tcp:-1:22", "host's port '-1'"},
    {"user,forward=tcp:22x:22", "host's port '22x'"},
    {"user,forward=tcp:localhost:22:22", "'localhost' is not an IPv4 address"},
};

START_TEST(mistakes_are_named)
{
    struct net_options options;
    struct error error = {""};
    ck_assert(!net_options_parse(&options, mistakes[_i].text, &error));
    ck_assert_msg(strstr(error.text, mistakes[_i].words), "'%s' gives '%s'", mistakes[_i].text,
                  error.text);
    ck_assert_msg(strstr(error.text, "--net") != NULL, "%s", error.text);
}
END_TEST

START_TEST(boot_file_fits)
{
    char text[200] = "user,bootfile=";
    struct net_options options;
    struct error error = {""};
    size_t start = strlen(text);
    memset(text + start, 'x', sizeof options.user.boot_file - 1);
    ck_assert_uint_eq(strlen(parsed(text).user.boot_file), sizeof options.user.boot_file - 1);
    text[start + sizeof options.user.boot_file - 1] = 'y';
    ck_assert(!net_options_parse(&options, text, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "too long"));
}
END_TEST

START_TEST(too_many_forwards)
{
    char text[2000] = "user";
    struct net_options options;
    struct error error = {""};
    for (int i = 0; i < NET_FORWARDS; i++)
        strcat(text, ",forward=tcp:1000:22");
    ck_assert(net_options_parse(&options, text, &error));
    strcat(text, ",forward=tcp:1000:22");
    ck_assert(!net_options_parse(&options, text, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "more than"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net_option");
    TCase *tcase = tcase_create("net_option");
    tcase_add_test(tcase, accepted);
    tcase_add_loop_test(tcase, mistakes_are_named, 0, sizeof mistakes / sizeof *mistakes);
    tcase_add_test(tcase, boot_file_fits);
    tcase_add_test(tcase, too_many_forwards);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
