/* The hash map: growth, removal, order, ownership. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/strv_index.h"

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

/* A list with an index answers as the list alone does, small or large, also after foreign changes.
 */
static void indexed(void **state)
{
        static const char *const values[] = {"", "1", "a=b", "x y"};
        struct strv_index at = {.n = 0}, whole = {.whole = true};
        struct strv a = {.v = NULL}, b = {.v = NULL}, set = {.v = NULL};
        unsigned seed = 7;

        (void)state;
        for (unsigned i = 0; i < 3000; i++) {
                char key[16];
                const char *v = values[i % ARRAY_LEN(values)];

                seed = seed * 1103515245 + 12345;
                (void)snprintf(key, sizeof(key), "k%u", (seed >> 16) % (i < 1000 ? 20 : 700));
                if (i % 100 == 99) { /* an entry that the index did not see coming */
                        assert_int_equal(strv_addf(&a, "%s=late", key), 0);
                        assert_int_equal(strv_addf(&b, "%s=late", key), 0);
                } else {
                        assert_int_equal(strv_index_set(&at, &a, key, v), 0);
                        assert_int_equal(strv_env_set(&b, key, v), 0);
                }
                assert_string_equal(strv_index_get(&at, &a, key), strv_env_get(&b, key));
                assert_null(strv_index_get(&at, &a, "k"));
                assert_int_equal(strv_index_add(&whole, &set, a.v[a.n - 1]), 0);
                assert_true(strv_has(&set, a.v[a.n - 1]));
        }
        assert_int_equal(a.n, b.n);
        for (size_t i = 0; i < a.n; i++)
                assert_string_equal(a.v[i], b.v[i]);
        for (size_t i = 0; i < set.n; i++)
                assert_int_equal(strv_index_find(&whole, &set, set.v[i]), i);
        strv_index_done(&at);
        strv_index_done(&whole);
        strv_done(&a);
        strv_done(&b);
        strv_done(&set);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(basics),
                cmocka_unit_test(many),
                cmocka_unit_test(hashes),
                cmocka_unit_test(indexed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
