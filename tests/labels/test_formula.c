/* SPDX-License-Identifier: BSD-3-Clause */
/** Formulas: what they give, what is missing and undefined, and where mistakes are. Against NumPy: test_labels.py. */
#include <float.h>
#include <stdlib.h>

#include "check.h"
#include "syzygy/labels.h"

static const char *const NAMES[] = {"x",  "y",  "Z_HP",  "smooth-or-featured_total-votes", "2kmag", "a (b)",
                                    "ra", "RA", "smooth"};
static const syz_texts ALL = {9, NAMES};
static const double NONE = (double)NAN;
/* one row of each column */
static double row[9] = {2, -3, 0.25, 40, 11.5, 7, 10, 20, 5};

static double value_of(const char *text, syz_label_counts *counts)
{
  syz_formula *f = NULL;
  const double *input[9];
  double out = -12345;
  CHECK_OK(syz_formula_parse(text, ALL, &f));
  if (!f) return out;
  for (int k = 0; k < syz_formula_inputs(f); k++) {
    int64_t item;
    input[k] = &row[syz_formula_input(f, k, &item)];
    CHECK(item == 0 || item == -1);
  }
  CHECK_OK(syz_formula_evaluate(f, 1, input, &out, counts));
  syz_formula_destroy(&f);
  return out;
}

static void check_value(const char *text, double wanted)
{
  const double found = value_of(text, NULL);
  check_count++;
  if (!(isnan(wanted) ? isnan(found) : found == wanted || fabs(found - wanted) <= 4 * DBL_EPSILON * fabs(wanted)))
    CHECK_FAIL_("%s = %.17g, expected %.17g", text, found, wanted);
}

static void test_values(void)
{
  static const struct {
    const char *text;
    double value;
  } all[] = {{"1 + 2 * 3", 7},
             {"(1 + 2) * 3", 9},
             {"7 - 2 - 1", 4},
             {"8 / 4 / 2", 1},
             {"2 ** 3 ** 2", 512},
             {"2 ^ 3", 8},
             {"-2 ** 2", -4},
             {"2 ** -1", 0.5},
             {"-x - -y", -5},
             {"+1.5e-1", 0.15},
             {".5 + 5.", 5.5},
             {"x < 3 && y < 0", 1},
             {"x < 3 && y > 0 || 1", 1},
             {"1 || 0 && 0", 1},
             {"!x == 0", 1},
             {"!(x == 2)", 0},
             {"x != 2", 0},
             {"1 < 2 == 2 > 1", 1},
             {"x>=2&&x<=2", 1},
             {"log10(100)", 2},
             {"ln(exp(3)) + log(1)", 3},
             {"sqrt(x * x)", 2},
             {"abs(y)", 3},
             {"asinh(0.5)", 0.48121182505960344749775891342437},
             {"min(3, x, y, 7)", -3},
             {"max(3, x, y, 7)", 7},
             {"pow(x, 10)", 1024},
             {"LOG10(x*5)", 1},
             {"Z_HP", 0.25},
             {"z_hp * 4", 1},
             {"ra", 10},
             {"RA", 20},
             {"Ra + 0", 10},
             {"smooth-or-featured_total-votes >= 3", 1},
             {"smooth - x", 3},
             {"smooth-x", 3},
             {"`smooth-or-featured_total-votes` / 4", 10},
             {"\"2kmag\" + '2kmag'", 23},
             {"2kmag - 2", 9.5},
             {"a (b) * 2", 14},
             {"x [0] + 1", 3},
             {" x ", 2},
             {"isnan(x) || isnan(log(y))", 1}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) check_value(all[i].text, all[i].value);
}

static void test_missing(void)
{
  const double x = row[0];
  row[0] = NONE;
  static const char *const none[] = {"x",      "x + 1",     "x == x",    "x != x",    "!x",
                                     "x < 1",  "min(x, 1)", "max(1, x)", "pow(x, 0)", "x && 1",
                                     "0 || x", "!(x < 3)",  "x / 0",     "sqrt(x)",   "abs(x)"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) check_value(none[i], NONE);
  check_value("x && 0", 0);
  check_value("1 || x", 1);
  check_value("isnan(x)", 1);
  check_value("isnan(x) && y < 0", 1);
  row[0] = x;
  check_value("log10(y)", NONE);
  check_value("ln(0)", NONE);
  check_value("sqrt(y)", NONE);
  check_value("pow(y, 0.5)", NONE);
  check_value("log10(y) > 0 || x == 2", 1);
  check_value("1 / 0", (double)INFINITY);
}

static void test_counts(void)
{
  const double x[6] = {1, NONE, -1, 0, 100, 10}, y[6] = {1, 1, 1, 1, NONE, 0}, *input[2] = {x, y};
  double out[6];
  syz_formula *f = NULL;
  syz_label_counts c;
  CHECK_OK(syz_formula_parse("log10(x) / y", ALL, &f));
  if (!f) return;
  CHECK_OK(syz_formula_evaluate(f, 6, input, out, &c));
  CHECK_EQ(c.rows, 6);
  CHECK_EQ(c.missing, 2);
  CHECK_EQ(c.undefined, 2);
  CHECK_EQ(c.infinite, 1);
  CHECK_EQ(c.usable, 1);
  CHECK(c.is_constant);
  syz_formula_destroy(&f);
  c = syz_label_count(6, x);
  CHECK(!c.is_constant && c.usable == 5 && c.missing == 1);
  const double same[3] = {2, NONE, 2};
  CHECK(syz_label_count(3, same).is_constant && syz_label_count(0, same).is_constant);
}

static void test_mistakes(void)
{
  static const struct {
    const char *text;
    syz_status code;
    const char *why;
  } all[] = {{"", SYZ_ERR_INPUT, "character 1: the formula ends too early"},
             {"x +", SYZ_ERR_INPUT, "character 4: the formula ends too early"},
             {"x + * 2", SYZ_ERR_INPUT, "character 5: a number, a column or '(' is wanted"},
             {"(x + 1", SYZ_ERR_INPUT, "character 7: ')' is wanted"},
             {"x y", SYZ_ERR_INPUT, "character 3: an operator is wanted"},
             {"x = 2", SYZ_ERR_INPUT, "character 3: one '=': '==' is wanted"},
             {"x & y", SYZ_ERR_INPUT, "one '&': '&&'"},
             {"0 < x < 3", SYZ_ERR_INPUT, "comparisons do not go on"},
             {"x == y == 1", SYZ_ERR_INPUT, "comparisons do not go on"},
             {"foo(x)", SYZ_ERR_INPUT, "character 1: no function 'foo'"},
             {"1 + pow(x)", SYZ_ERR_INPUT, "character 10: ',' is wanted, pow takes two"},
             {"ln(x, y)", SYZ_ERR_INPUT, "character 5: ')' is wanted, ln takes one number"},
             {"3xmag", SYZ_ERR_INPUT, "neither a number nor a column"},
             {"0x10", SYZ_ERR_INPUT, "neither a number nor a column"},
             {"1.2.3", SYZ_ERR_INPUT, "neither a number nor a column"},
             {"'x", SYZ_ERR_INPUT, "a quotation mark that is not closed"},
             {"x[a]", SYZ_ERR_INPUT, "character 3: the number of an item"},
             {"x[1", SYZ_ERR_INPUT, "']' is wanted"},
             {"x == 39627733482440001", SYZ_ERR_INPUT, "character 6: 39627733482440001 is beyond 2^53"},
             {"log10(Z_HPP)", SYZ_ERR_DATA, "character 7: no column 'Z_HPP'; the nearest is 'Z_HP'"},
             {"'smooth-or-featured_total_votes' > 1", SYZ_ERR_DATA, "the nearest is 'smooth-or-featured_total-votes'"},
             {"x; y", SYZ_ERR_INPUT, "character 2: an operator is wanted"},
             {"gtifilter('/etc/passwd')", SYZ_ERR_INPUT, "no function 'gtifilter'"},
             {"@file", SYZ_ERR_INPUT, "character 1: a number, a column"}};
  syz_formula *f = NULL;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    CHECK_ERROR(syz_formula_parse(all[i].text, ALL, &f), all[i].code, all[i].why);
    CHECK(!f);
  }
  enum { DEEP = 100000 };
  char *deep = malloc(DEEP + 2);
  for (int i = 0; deep && i < DEEP; i++) deep[i] = "(-!"[i % 3];
  if (deep) deep[DEEP] = '\0';
  CHECK_ERROR(syz_formula_parse(deep, ALL, &f), SYZ_ERR_INPUT, "more than 100 levels");
  free(deep);
  CHECK_ERROR(syz_formula_parse("x", (syz_texts){0, NULL}, &f), SYZ_ERR_DATA, "no column 'x'");
}

static void test_inputs(void)
{
  syz_formula *f = NULL;
  int64_t item = 0;
  CHECK_OK(syz_formula_parse("y[3] + X * y[3] - y", ALL, &f));
  if (!f) return;
  CHECK_EQ(syz_formula_inputs(f), 3);
  CHECK(syz_formula_input(f, 0, &item) == 1 && item == 3);
  CHECK(syz_formula_input(f, 1, &item) == 0 && item == -1);
  CHECK(syz_formula_input(f, 2, &item) == 1 && item == -1);
  syz_formula_destroy(&f);
}

int main(void)
{
  const int64_t blocks = syz_memory_get().live_blocks;
  test_values();
  test_missing();
  test_counts();
  test_mistakes();
  test_inputs();
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  return CHECK_RESULT();
}
