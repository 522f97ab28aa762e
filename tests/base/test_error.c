/* SPDX-License-Identifier: BSD-3-Clause */
/** The recorded error: kept and put back, with something in front after the rank; names that are near each other. */
#include "check.h"

static void test_keep(void)
{
  char kept[SYZ_ERROR_TEXT];
  (void)syz_error_set(SYZ_ERR_DATA, "src/a.c", 7, "first");
  syz_error_keep(kept);
  (void)syz_error_set(SYZ_ERR_WRITE, "src/b.c", 8, "second");
  CHECK(strcmp(syz_error_text(), "second [src/b.c:8]") == 0);
  syz_error_restore(kept);
  CHECK(strcmp(syz_error_text(), "first [src/a.c:7]") == 0);
  CHECK_EQ(syz_error_pass(SYZ_ERR_DATA, "src/c.c", 9), SYZ_ERR_DATA);
  CHECK(strcmp(syz_error_text(), "first [src/a.c:7 < src/c.c:9]") == 0);
  /* Its own text may be an argument. */
  (void)syz_error_set(SYZ_ERR_DATA, "src/d.c", 1, "more: %s", syz_error_text());
  CHECK(strncmp(syz_error_text(), "more: first [", 13) == 0);
}

static void test_prefix(void)
{
  (void)syz_error_set(SYZ_ERR_DATA, "src/a.c", 7, "no such dataset");
  CHECK_EQ(syz_error_prefix(SYZ_ERR_DATA, "search.index"), SYZ_ERR_DATA);
  CHECK(strcmp(syz_error_text(), "search.index: no such dataset [src/a.c:7]") == 0);
  (void)syz_error_set(SYZ_ERR_DATA, "src/a.c", 7, "rank 12: no such dataset");
  (void)syz_error_prefix(SYZ_ERR_DATA, "search.index");
  CHECK(strcmp(syz_error_text(), "rank 12: search.index: no such dataset [src/a.c:7]") == 0);
  static char long_text[2 * SYZ_ERROR_TEXT];
  memset(long_text, 'x', sizeof long_text - 1);
  (void)syz_error_set(SYZ_ERR_DATA, "src/a.c", 7, "%s", long_text);
  (void)syz_error_prefix(SYZ_ERR_DATA, long_text);
  CHECK(strlen(syz_error_text()) < SYZ_ERROR_TEXT);
}

static void test_names(void)
{
  CHECK_EQ(syz_edit_distance("redshift", "redshift"), 0);
  CHECK_EQ(syz_edit_distance("redshift", "RedShift"), 0);
  CHECK_EQ(syz_edit_distance("redshift", "redshft"), 1);
  CHECK_EQ(syz_edit_distance("kitten", "sitting"), 3);
  CHECK_EQ(syz_edit_distance("", "abc"), 3);
  const char *const item[] = {"a", "bc"};
  char *lines = syz_texts_lines((syz_texts){2, item});
  CHECK(lines && strcmp(lines, "a\nbc") == 0);
  syz_free(&lines);
}

int main(void)
{
  test_keep();
  test_prefix();
  test_names();
  return CHECK_RESULT();
}
