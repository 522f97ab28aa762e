/* SPDX-License-Identifier: BSD-3-Clause */
/** Values of formulas, row by row by a stack of numbers, and what the values are. */
#include "formula.h"

#include <math.h>

int syz_formula_inputs(const syz_formula *f) { return f->inputs; }

int syz_formula_input(const syz_formula *f, int k, int64_t *item)
{
  *item = f->input[k].item;
  return f->input[k].name;
}

static double of_one(formula_op op, double x)
{
  switch (op) {
  case FORMULA_NEGATIVE:
    return -x;
  case FORMULA_NOT:
    return isnan(x) ? x : !(x != 0);
  case FORMULA_LOG10:
    return x > 0 ? log10(x) : (double)NAN;
  case FORMULA_LN:
    return x > 0 ? log(x) : (double)NAN;
  case FORMULA_EXP:
    return exp(x);
  case FORMULA_SQRT:
    return x >= 0 ? sqrt(x) : (double)NAN;
  case FORMULA_ABS:
    return fabs(x);
  case FORMULA_ASINH:
    return asinh(x);
  default: /* FORMULA_ISNAN */
    return isnan(x);
  }
}

/* What is false whatever the other is, or true whatever it is. */
static double of_truths(formula_op op, double x, double y)
{
  const bool decides = op == FORMULA_OR;
  if ((!isnan(x) && (x != 0) == decides) || (!isnan(y) && (y != 0) == decides)) return decides;
  return isnan(x) || isnan(y) ? (double)NAN : !decides;
}

static double of_two(formula_op op, double x, double y)
{
  if (op == FORMULA_OR || op == FORMULA_AND) return of_truths(op, x, y);
  if (isnan(x) || isnan(y)) return (double)NAN; /* also of pow(NaN, 0), fmin(NaN, 1) and comparisons */
  switch (op) {
  case FORMULA_EQUAL:
    return x == y;
  case FORMULA_UNEQUAL:
    return x != y;
  case FORMULA_LESS:
    return x < y;
  case FORMULA_LESS_EQUAL:
    return x <= y;
  case FORMULA_MORE:
    return x > y;
  case FORMULA_MORE_EQUAL:
    return x >= y;
  case FORMULA_ADD:
    return x + y;
  case FORMULA_SUBTRACT:
    return x - y;
  case FORMULA_MULTIPLY:
    return x * y;
  case FORMULA_DIVIDE:
    return x / y;
  case FORMULA_POWER:
    return pow(x, y);
  case FORMULA_MIN:
    return x < y ? x : y;
  default: /* FORMULA_MAX */
    return x > y ? x : y;
  }
}

static double of_row(const syz_formula *f, int64_t i, const double *const *input, double *stack, bool *has_nan)
{
  int n = 0;
  *has_nan = false;
  for (int k = 0; k < f->steps; k++) {
    const formula_step *s = &f->step[k];
    if (s->op == FORMULA_NUMBER) {
      stack[n++] = s->number;
    } else if (s->op == FORMULA_INPUT) {
      stack[n++] = input[s->input][i];
      *has_nan = *has_nan || isnan(stack[n - 1]);
    } else if (s->op < FORMULA_OR) {
      stack[n - 1] = of_one(s->op, stack[n - 1]);
    } else {
      n--;
      stack[n - 1] = of_two(s->op, stack[n - 1], stack[n]);
    }
  }
  return stack[0];
}

/* *first: the first usable value. */
static void count(syz_label_counts *c, double value, bool has_nan, double *first)
{
  if (isnan(value)) {
    c->missing += has_nan;
    c->undefined += !has_nan;
  } else if (isinf(value)) {
    c->infinite++;
  } else {
    if (c->usable++ == 0) *first = value;
    c->is_constant = c->is_constant && value == *first;
  }
}

syz_status syz_formula_evaluate(const syz_formula *f, int64_t n, const double *const *input, double *out,
                                syz_label_counts *counts)
{
  syz_status st = SYZ_OK;
  double *stack = NULL, first = 0;
  bool has_nan = false;
  syz_label_counts c = {.rows = n, .is_constant = true};
  SYZ_ALLOC(stack, "formula", f->stack);
  for (int64_t i = 0; i < n; i++) {
    out[i] = of_row(f, i, input, stack, &has_nan);
    count(&c, out[i], has_nan, &first);
  }
  if (counts) *counts = c;
cleanup:
  syz_free(&stack);
  return st;
}

syz_label_counts syz_label_count(int64_t n, const double *value)
{
  syz_label_counts c = {.rows = n, .is_constant = true};
  double first = 0;
  for (int64_t i = 0; i < n; i++) count(&c, value[i], true, &first);
  return c;
}
