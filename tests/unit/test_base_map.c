/* The hash map: growth, removal, order, ownership. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/map.h"

static unsigned freed;

static void count_free(void *p)
{
        freed++;
        free(p);
}

static char *key_of(unsigned i, char out[32])
{
        (void)snprintf(out, 32, "key-%u", i);
        return out;
}

static void basics(void **state)
{
        struct map m;
        int a = 1, b = 2;

        (void)state;
        map_init(&m, NULL);
        assert_null(map_get(&m, "x"));
        assert_false(map_del(&m, "x"));
        assert_int_equal(map_set(&m, "x", &a), 0);
        assert_int_equal(map_set(&m, "", &b), 0);
        assert_ptr_equal(map_get(&m, "x"), &a);
        assert_ptr_equal(map_get(&m, ""), &b);
        assert_int_equal(map_set(&m, "x", &b), 0);
        assert_ptr_equal(map_get(&m, "x"), &b);
        assert_int_equal(m.live, 2);
        assert_int_equal(map_setn(&m, "a\0b", 3, &a), 0);
        assert_ptr_equal(map_getn(&m, "a\0b", 3), &a);
        assert_null(map_get(&m, "a"));
        assert_true(map_del(&m, "x"));
        assert_null(map_get(&m, "x"));
        map_done(&m);
        map_done(&m);
}

static void many(void **state)
{
        struct map m;
        char key[32];
        unsigned n = 5000, seen = 0;

        (void)state;
        freed = 0;
        map_init(&m, count_free);
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(map_set(&m, key_of(i, key), mem_dup(&i, sizeof(i))), 0);
        for (unsigned i = 0; i < n; i += 2)
                assert_true(map_del(&m, key_of(i, key)));
        assert_int_equal(freed, n / 2);
        for (unsigned i = 0; i < n; i++) {
                const unsigned *v = map_get(&m, key_of(i, key));

                assert_true(i % 2 ? v && *v == i : v == NULL);
        }
        for (unsigned i = 0; i < n; i += 4) /* come back at the end */
                assert_int_equal(map_set(&m, key_of(i, key), mem_dup(&i, sizeof(i))), 0);
        for (struct map_entry *e = NULL, *last = NULL; (e = map_next(&m, e)); last = e, seen++) {
                const unsigned *v = e->value, *w = last ? last->value : NULL;

                /* insertion order: the odd ones, then every fourth */
                if (w && *w % 2 == *v % 2)
                        assert_true(*w < *v);
        }
        assert_int_equal(seen, m.live);
        assert_int_equal(seen, n / 2 + n / 4);
        map_done(&m);
        assert_int_equal(freed, n + n / 4);
}

static void hashes(void **state)
{
        (void)state;
        assert_true(hash64("a", 1) == hash64("a", 1));
        assert_true(hash64("a", 1) != hash64("b", 1));
        assert_true(hash64("", 0) != hash64("\0", 1));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(basics),
                cmocka_unit_test(many),
                cmocka_unit_test(hashes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
