/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Formulas to steps, by recursive descent: a function for each level of the grammar, which calls those that bind more
 * tightly and then adds its own step, so that operands come before what works on them.
 *
 * cfitsio has a calculator of its own, which is not used: it reads from FITS tables only, so that CSV and HDF5 would
 * have to be copied to one in memory; its grammar opens other files (gtifilter, regfilter, '@file'); its parser keeps
 * its state in global variables; and it tells neither the place of a mistake nor the nearest name.
 */
#include "formula.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { DEPTH_MAX = 100, NAME = 256 };

typedef struct parser {
  const char *text, *p;
  syz_texts name;
  syz_formula *f;
  int depth, on_stack;
} parser;

#define REFUSE(r, at, code, ...) refuse((r), (at), (code), __LINE__, __VA_ARGS__)
static syz_status refuse(const parser *r, const char *at, syz_status code, int line, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static syz_status refuse(const parser *r, const char *at, syz_status code, int line, const char *format, ...)
{
  char why[700];
  va_list args;
  va_start(args, format);
  vsnprintf(why, sizeof why, format, args);
  va_end(args);
  return syz_error_set(code, __FILE__, line, "formula '%.300s', character %d: %s", r->text, (int)(at - r->text) + 1,
                       why);
}

int labels_find_name(syz_texts name, const char *wanted, const char **nearest)
{
  int best = 1000, other_case = -1;
  *nearest = "";
  for (int i = 0; i < name.n; i++) {
    if (strcmp(name.item[i], wanted) == 0) return i;
    if (other_case < 0 && strcasecmp(name.item[i], wanted) == 0) other_case = i;
    const int distance = syz_edit_distance(name.item[i], wanted);
    if (distance >= best) continue;
    best = distance;
    *nearest = name.item[i];
  }
  return other_case;
}

/* ------------------------------------------------------------------ words */

static void skip_blanks(parser *r)
{
  while (isspace((unsigned char)*r->p)) r->p++;
}

static bool accept_word(parser *r, const char *word)
{
  skip_blanks(r);
  const size_t n = strlen(word);
  if (strncmp(r->p, word, n) != 0) return false;
  r->p += n;
  return true;
}

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* Characters of the longest column's name that the text goes on with, as it is written there. */
static size_t longest_name(const parser *r)
{
  size_t longest = 0;
  for (int i = 0; i < r->name.n; i++) {
    const size_t n = strlen(r->name.item[i]);
    if (n > longest && strncmp(r->p, r->name.item[i], n) == 0 && !(is_word(r->p[n - 1]) && is_word(r->p[n])))
      longest = n;
  }
  return longest;
}

static syz_status add(parser *r, formula_step step)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_grow(&r->f->step, "formula", r->f->steps, 1, &r->f->step_room));
  r->f->step[r->f->steps++] = step;
  r->on_stack += step.op <= FORMULA_INPUT ? 1 : step.op >= FORMULA_OR ? -1 : 0;
  if (r->on_stack > r->f->stack) r->f->stack = r->on_stack;
cleanup:
  return st;
}

static syz_status add_op(parser *r, formula_op op) { return add(r, (formula_step){.op = op}); }

/* ------------------------------------------------------------------ leaves */

static syz_status add_number(parser *r, size_t digits)
{
  const double exact = 9007199254740992; /* 2^53 */
  char *end;
  const char *at = r->p;
  const double value = strtod(r->p, &end);
  if (end != r->p + digits || is_word(*end) || *end == '.')
    return REFUSE(r, at, SYZ_ERR_INPUT, "this is neither a number nor a column");
  if (value > exact && strspn(at, "0123456789") == digits)
    return REFUSE(r, at, SYZ_ERR_INPUT,
                  "%.*s is beyond 2^53, where numbers here lose digits: identifiers cannot be compared in a formula",
                  (int)digits, at);
  r->p = end;
  return add(r, (formula_step){.op = FORMULA_NUMBER, .number = value});
}

/* Digits, perhaps a point, perhaps an exponent. */
static size_t number_length(const char *p)
{
  size_t n = strspn(p, "0123456789");
  if (p[n] == '.') n += 1 + strspn(p + n + 1, "0123456789");
  if (n == 0 || (n == 1 && *p == '.')) return 0;
  if (p[n] != 'e' && p[n] != 'E') return n;
  const size_t sign = p[n + 1] == '+' || p[n + 1] == '-', digits = strspn(p + n + 1 + sign, "0123456789");
  return digits ? n + 1 + sign + digits : n;
}

static syz_status add_column(parser *r, const char *at, const char *wanted)
{
  syz_status st = SYZ_OK;
  const char *nearest;
  formula_input input = {labels_find_name(r->name, wanted, &nearest), -1};
  int k = 0;
  if (input.name < 0)
    return REFUSE(r, at, SYZ_ERR_DATA, "no column '%s'%s%s%s", wanted, *nearest ? "; the nearest is '" : "", nearest,
                  *nearest ? "'" : "");
  if (accept_word(r, "[")) {
    skip_blanks(r);
    const size_t digits = strspn(r->p, "0123456789");
    if (digits == 0 || digits > 9) return REFUSE(r, r->p, SYZ_ERR_INPUT, "the number of an item, from 0 on, is wanted");
    input.item = strtoll(r->p, NULL, 10);
    r->p += digits;
    if (!accept_word(r, "]")) return REFUSE(r, r->p, SYZ_ERR_INPUT, "']' is wanted");
  }
  while (k < r->f->inputs && !(r->f->input[k].name == input.name && r->f->input[k].item == input.item)) k++;
  if (k == r->f->inputs) {
    SYZ_TRY(syz_grow(&r->f->input, "formula", r->f->inputs, 1, &r->f->input_room));
    r->f->input[r->f->inputs++] = input;
  }
  SYZ_TRY(add(r, (formula_step){.op = FORMULA_INPUT, .input = k}));
cleanup:
  return st;
}

/* `n` characters, after `before` that are passed over and before `after` that are. */
static syz_status add_named(parser *r, size_t before, size_t n, size_t after)
{
  char name[NAME];
  const char *at = r->p;
  if (n >= sizeof name) return REFUSE(r, at, SYZ_ERR_INPUT, "a name of more than %d characters", NAME - 1);
  memcpy(name, r->p + before, n);
  name[n] = '\0';
  r->p += before + n + after;
  return add_column(r, at, name);
}

static syz_status either(parser *r);

static syz_status call(parser *r, size_t length, bool *is_call)
{
  static const struct {
    const char *name;
    formula_op op;
    int least, most;
  } function[] = {{"log10", FORMULA_LOG10, 1, 1}, {"ln", FORMULA_LN, 1, 1},       {"log", FORMULA_LN, 1, 1},
                  {"exp", FORMULA_EXP, 1, 1},     {"sqrt", FORMULA_SQRT, 1, 1},   {"abs", FORMULA_ABS, 1, 1},
                  {"asinh", FORMULA_ASINH, 1, 1}, {"isnan", FORMULA_ISNAN, 1, 1}, {"pow", FORMULA_POWER, 2, 2},
                  {"min", FORMULA_MIN, 2, 1000},  {"max", FORMULA_MAX, 2, 1000}};
  syz_status st = SYZ_OK;
  const char *at = r->p, *open = r->p + length;
  size_t k = 0;
  int arguments = 0;
  while (isspace((unsigned char)*open)) open++;
  *is_call = *open == '(';
  if (!*is_call) return SYZ_OK;
  while (k < sizeof function / sizeof *function &&
         (strlen(function[k].name) != length || strncasecmp(function[k].name, at, length) != 0))
    k++;
  if (k == sizeof function / sizeof *function)
    return REFUSE(r, at, SYZ_ERR_INPUT,
                  "no function '%.*s': there are log10, ln, log, exp, sqrt, abs, asinh, isnan, pow, min, max",
                  (int)length, at);
  r->p = open + 1;
  do {
    SYZ_TRY(either(r));
    if (++arguments > 1) SYZ_TRY(add_op(r, function[k].op));
  } while (arguments < function[k].most && accept_word(r, ","));
  if (arguments == 1 && function[k].least == 1) SYZ_TRY(add_op(r, function[k].op));
  if (arguments < function[k].least || !accept_word(r, ")"))
    return REFUSE(r, r->p, SYZ_ERR_INPUT, "'%s' is wanted, %s takes %s", arguments < function[k].least ? "," : ")",
                  function[k].name,
                  function[k].least == 1  ? "one number"
                  : function[k].most == 2 ? "two"
                                          : "two and more");
cleanup:
  return st;
}

static syz_status leaf(parser *r)
{
  syz_status st = SYZ_OK;
  bool is_call = false;
  skip_blanks(r);
  const char quote = *r->p;
  if (quote == '\'' || quote == '"' || quote == '`') {
    const char *end = strchr(r->p + 1, quote);
    if (!end) return REFUSE(r, r->p, SYZ_ERR_INPUT, "a quotation mark that is not closed");
    return add_named(r, 1, (size_t)(end - r->p - 1), 1);
  }
  if (accept_word(r, "(")) {
    SYZ_TRY(either(r));
    return accept_word(r, ")") ? SYZ_OK : REFUSE(r, r->p, SYZ_ERR_INPUT, "')' is wanted");
  }
  size_t word = 0;
  const size_t digits = number_length(r->p), known = longest_name(r);
  while (is_word(r->p[word])) word++;
  if (digits && known <= digits) return add_number(r, digits);
  if (known > word) return add_named(r, 0, known, 0);
  if (word == 0)
    return REFUSE(r, r->p, SYZ_ERR_INPUT, *r->p ? "a number, a column or '(' is wanted" : "the formula ends too early");
  SYZ_TRY(call(r, word, &is_call));
  if (!is_call) SYZ_TRY(add_named(r, 0, word, 0));
cleanup:
  return st;
}

/* --------------------------------------------------------------- operators */

static syz_status sign(parser *r)
{
  syz_status st = SYZ_OK;
  const char *at = r->p;
  if (++r->depth > DEPTH_MAX) return REFUSE(r, at, SYZ_ERR_INPUT, "more than %d levels", DEPTH_MAX);
  skip_blanks(r);
  const bool is_not = r->p[0] == '!' && r->p[1] != '=';
  if (is_not || *r->p == '-' || *r->p == '+') {
    const char what = *r->p++;
    SYZ_TRY(sign(r));
    if (what != '+') SYZ_TRY(add_op(r, is_not ? FORMULA_NOT : FORMULA_NEGATIVE));
  } else {
    SYZ_TRY(leaf(r));
    if (accept_word(r, "**") || accept_word(r, "^")) {
      SYZ_TRY(sign(r));
      SYZ_TRY(add_op(r, FORMULA_POWER));
    }
  }
  r->depth--;
cleanup:
  return st;
}

enum { OR_LEVEL, AND_LEVEL, EQUAL_LEVEL, ORDER_LEVEL, SUM_LEVEL, PRODUCT_LEVEL, LEVELS };

static bool take_operator(parser *r, int level, formula_op *op)
{
  static const struct {
    const char *word;
    int level;
    formula_op op;
  } all[] = {{"||", OR_LEVEL, FORMULA_OR},
             {"&&", AND_LEVEL, FORMULA_AND},
             {"==", EQUAL_LEVEL, FORMULA_EQUAL},
             {"!=", EQUAL_LEVEL, FORMULA_UNEQUAL},
             {"<=", ORDER_LEVEL, FORMULA_LESS_EQUAL},
             {">=", ORDER_LEVEL, FORMULA_MORE_EQUAL},
             {"<", ORDER_LEVEL, FORMULA_LESS},
             {">", ORDER_LEVEL, FORMULA_MORE},
             {"+", SUM_LEVEL, FORMULA_ADD},
             {"-", SUM_LEVEL, FORMULA_SUBTRACT},
             {"*", PRODUCT_LEVEL, FORMULA_MULTIPLY},
             {"/", PRODUCT_LEVEL, FORMULA_DIVIDE}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (all[i].level == level && accept_word(r, all[i].word)) {
      *op = all[i].op;
      return true;
    }
  return false;
}

static syz_status binary(parser *r, int level)
{
  syz_status st = SYZ_OK;
  formula_op op = FORMULA_OR;
  if (level == LEVELS) return sign(r);
  SYZ_TRY(binary(r, level + 1));
  for (int k = 0; take_operator(r, level, &op); k++) {
    if (k && (level == EQUAL_LEVEL || level == ORDER_LEVEL))
      return REFUSE(r, r->p, SYZ_ERR_INPUT, "comparisons do not go on: write a < b && b < c");
    SYZ_TRY(binary(r, level + 1));
    SYZ_TRY(add_op(r, op));
  }
cleanup:
  return st;
}

static syz_status either(parser *r) { return binary(r, OR_LEVEL); }

/* The text as a whole, without blanks around it, is the name of a column. */
static bool is_one_column(const char *text, syz_texts name, int *column)
{
  const char *nearest;
  char whole[NAME];
  while (isspace((unsigned char)*text)) text++;
  size_t n = strlen(text);
  while (n && isspace((unsigned char)text[n - 1])) n--;
  if (n == 0 || n >= sizeof whole || number_length(text) == n) return false;
  memcpy(whole, text, n);
  whole[n] = '\0';
  *column = labels_find_name(name, whole, &nearest);
  return *column >= 0;
}

static syz_status parse_all(parser *r)
{
  syz_status st = SYZ_OK;
  int column;
  if (is_one_column(r->text, r->name, &column)) return add_column(r, r->p, r->name.item[column]);
  SYZ_TRY(either(r));
  skip_blanks(r);
  if (*r->p == '=' || *r->p == '&' || *r->p == '|')
    return REFUSE(r, r->p, SYZ_ERR_INPUT, "one '%c': '%c%c' is wanted", *r->p, *r->p, *r->p);
  if (*r->p) return REFUSE(r, r->p, SYZ_ERR_INPUT, "an operator is wanted");
cleanup:
  return st;
}

syz_status syz_formula_parse(const char *text, syz_texts name, syz_formula **out)
{
  syz_status st = SYZ_OK;
  parser r = {.text = text, .p = text, .name = name};
  *out = NULL;
  SYZ_ALLOC(r.f, "formula", 1);
  SYZ_TRY(parse_all(&r));
  *out = r.f;
  r.f = NULL;
cleanup:
  syz_formula_destroy(&r.f);
  return st;
}

void syz_formula_destroy(syz_formula **f)
{
  if (!*f) return;
  syz_free(&(*f)->step);
  syz_free(&(*f)->input);
  syz_free(f);
}
