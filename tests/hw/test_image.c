/*
 * Disk images: each user mistake gives its sentence, data comes back, locks and overlays hold.
 */
#include "hw/image/image.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char path[128];

static void setup(void)
{
    strcpy(folder, "/tmp/doppel-test-image-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/disk.img", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

static void make_file(size_t size, uint8_t fill)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    ck_assert_int_ge(fd, 0);
    uint8_t *data = malloc(size + 1);
    memset(data, fill, size);
    ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
    free(data);
    close(fd);
}

static void expect_refused(const struct image_options *options, const char *words)
{
    struct error error = {""};
    ck_assert_ptr_null(image_open(options, &error));
    ck_assert_msg(strstr(error.text, words), "'%s' lacks '%s'", error.text, words);
}

static struct image *expect_open(const struct image_options *options)
{
    struct error error = {""};
    struct image *image = image_open(options, &error);
    ck_assert_msg(image != NULL, "%s", error.text);
    return image;
}

START_TEST(mistakes_have_sentences)
{
    struct image_options options = {.path = path};
    expect_refused(&options, "does not exist");
    ck_assert_int_eq(access(path, F_OK), -1); /* and nothing was made */

    make_file(0, 0);
    expect_refused(&options, "is empty");
    make_file(1000, 0);
    expect_refused(&options, "not a multiple of 512");
    make_file(512 * 3, 0);
    options.optical = true;
    expect_refused(&options, "not a multiple of 2048");
    options.optical = false;
    options.format = "qcow2";
    expect_refused(&options, "'qcow2'");
    options.format = NULL;
    int fd = open(path, O_WRONLY);
    ck_assert_int_eq(pwrite(fd, "QFI\xfb", 4, 0), 4);
    close(fd);
    expect_refused(&options, "of format qcow2");
    options.format = "raw";
    image_close(expect_open(&options));

    struct image_options directory = {.path = folder};
    expect_refused(&directory, "is a directory");
    directory.read_only = true;
    expect_refused(&directory, "is a directory");

    unlink(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_refused(&(struct image_options){.path = path, .read_only = true}, "neither a file");
}
END_TEST

START_TEST(unreadable_and_unwritable)
{
    if (geteuid() == 0)
        return; /* root may open anything */
    make_file(512, 0);
    chmod(path, 0400);
    expect_refused(&(struct image_options){.path = path}, ",readonly");
    image_close(expect_open(&(struct image_options){.path = path, .temporary = true}));
    chmod(path, 0000);
    expect_refused(&(struct image_options){.path = path}, "cannot be read");
    chmod(path, 0600);
}
END_TEST

START_TEST(reads_what_was_written)
{
    make_file(512 * 20, 0xaa);
    struct image *image = expect_open(&(struct image_options){.path = path});
    uint8_t data[1024], back[1024];
    memset(data, 0x5a, sizeof data);
    ck_assert_uint_eq(image_bytes(image), 512 * 20);
    ck_assert_str_eq(image_path(image), path);
    ck_assert_int_eq(image_write(image, 512 * 3, data, sizeof data), 0);
    ck_assert_int_eq(image_flush(image), 0);
    ck_assert_int_eq(image_read(image, 512 * 3, back, sizeof back), 0);
    ck_assert_mem_eq(data, back, sizeof data);
    ck_assert_int_eq(image_read(image, 512 * 5, back, 512), 0);
    ck_assert_uint_eq(back[0], 0xaa);
    ck_assert_int_eq(image_read(image, 512 * 19, back, 1024), EINVAL);
    ck_assert_int_eq(image_write(image, UINT64_MAX - 511, data, 1024), EINVAL);
    ck_assert_int_eq(truncate(path, 512), 0);
    ck_assert_int_eq(image_read(image, 512 * 5, back, 512), EIO);
    image_close(image);
}
END_TEST

/* Several buffers, ranges without data, on a raw image and (at odd places) on an overlay. */
START_TEST(vectors_and_ranges)
{
    make_file(65536, 7);
    for (int temporary = 0; temporary < 2; temporary++) {
        uint8_t a[1000], b[3000], all[4000];
        struct iovec iov[] = {{a, sizeof a}, {b, sizeof b}};
        struct image *image =
            expect_open(&(struct image_options){.path = path, .temporary = temporary});
        memset(a, 1, sizeof a);
        memset(b, 2, sizeof b);
        ck_assert_int_eq(image_writev(image, 5000, iov, 2), 0);
        ck_assert_int_eq(image_read(image, 5000, all, sizeof all), 0);
        ck_assert(all[0] == 1 && all[999] == 1 && all[1000] == 2 && all[3999] == 2);
        memset(a, 0, sizeof a);
        memset(b, 0, sizeof b);
        int status = image_readv(image, 5000, iov, 2, false);
        if (status == EAGAIN)
            status = image_readv(image, 5000, iov, 2, true);
        ck_assert_int_eq(status, 0);
        ck_assert(a[0] == 1 && b[0] == 2 && b[2999] == 2);
        ck_assert_int_eq(image_readv(image, 65536 - 3999, iov, 2, true), EINVAL);
        ck_assert_int_eq(image_writev(image, UINT64_MAX - 100, iov, 2), EINVAL);

        ck_assert_int_eq(image_write_zeroes(image, 6000, 1000, temporary), 0);
        ck_assert_int_eq(image_read(image, 5000, all, sizeof all), 0);
        ck_assert(all[999] == 1 && all[1000] == 0 && all[1999] == 0 && all[2000] == 2);
        ck_assert_int_eq(image_discard(image, 8192, 4096), 0);
        ck_assert_int_eq(image_discard(image, 65536, 1), EINVAL);
        ck_assert_int_eq(image_write_zeroes(image, 1, UINT64_MAX, false), EINVAL);
        image_close(image);
    }
    struct image *image = expect_open(&(struct image_options){.path = path, .read_only = true});
    ck_assert_int_eq(image_discard(image, 0, 512), EROFS);
    ck_assert_int_eq(image_write_zeroes(image, 0, 512, true), EROFS);
    image_close(image);
}
END_TEST

START_TEST(one_writer_or_many_readers)
{
    make_file(2048, 0);
    struct image_options writer = {.path = path};
    struct image_options reader = {.path = path, .read_only = true};
    struct image_options optical = {.path = path, .optical = true};

    struct image *a = expect_open(&writer);
    expect_refused(&writer, "in use");
    expect_refused(&reader, "in use");
    image_close(a);

    a = expect_open(&reader);
    struct image *b = expect_open(&optical);
    expect_refused(&writer, "in use");
    uint8_t sector[512] = {0};
    ck_assert(image_read_only(a) && image_read_only(b));
    ck_assert_int_eq(image_write(a, 0, sector, 512), EROFS);
    image_close(a);
    image_close(b);
    image_close(expect_open(&writer));
}
END_TEST

/* Random writes through an overlay against a copy in memory; the file must not change. */
START_TEST(overlay_matches_memory)
{
    enum { SIZE = 512 * 71 }; /* ends inside a cluster */
    static uint8_t model[SIZE], data[SIZE], back[SIZE];
    make_file(SIZE, 0x11);
    memset(model, 0x11, SIZE);
    struct image *image = expect_open(&(struct image_options){.path = path, .temporary = true});
    srand(7);
    for (int i = 0; i < 400; i++) {
        size_t offset = (size_t)rand() % SIZE, length = (size_t)rand() % (SIZE - offset + 1);
        if (i & 1)
            length = length % 2000;
        memset(data, rand(), length);
        memcpy(model + offset, data, length);
        ck_assert_int_eq(image_write(image, offset, data, length), 0);
        ck_assert_int_eq(image_read(image, 0, back, SIZE), 0);
        ck_assert_mem_eq(model, back, SIZE);
    }
    image_close(image);
    image = expect_open(&(struct image_options){.path = path});
    ck_assert_int_eq(image_read(image, 0, back, SIZE), 0);
    for (int i = 0; i < SIZE; i++)
        ck_assert_uint_eq(back[i], 0x11);
    image_close(image);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("image");
    TCase *tcase = tcase_create("image");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, mistakes_have_sentences);
    tcase_add_test(tcase, unreadable_and_unwritable);
    tcase_add_test(tcase, reads_what_was_written);
    tcase_add_test(tcase, vectors_and_ranges);
    tcase_add_test(tcase, one_writer_or_many_readers);
    tcase_add_test(tcase, overlay_matches_memory);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
