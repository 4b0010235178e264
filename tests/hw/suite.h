/* Runs all tests of one subject, each between `setup` and `teardown`; the status for main(). */
#ifndef DOPPEL_TESTS_HW_SUITE_H
#define DOPPEL_TESTS_HW_SUITE_H

#include <check.h>
#include <stdlib.h>

static inline int suite_main(const char *subject, void (*setup)(void), void (*teardown)(void),
                             const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(subject);
    TCase *cases = tcase_create(subject);
    tcase_add_checked_fixture(cases, setup, teardown);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(cases, tests[i]);
    suite_add_tcase(suite, cases);

    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
