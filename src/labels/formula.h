/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room labels: a formula as a list of steps for a stack of numbers, and the names of columns. */
#pragma once

#include "syzygy/labels.h"

typedef enum formula_op {
  /* no operand */
  FORMULA_NUMBER,
  FORMULA_INPUT,
  /* one */
  FORMULA_NEGATIVE,
  FORMULA_NOT,
  FORMULA_LOG10,
  FORMULA_LN,
  FORMULA_EXP,
  FORMULA_SQRT,
  FORMULA_ABS,
  FORMULA_ASINH,
  FORMULA_ISNAN,
  /* two */
  FORMULA_OR,
  FORMULA_AND,
  FORMULA_EQUAL,
  FORMULA_UNEQUAL,
  FORMULA_LESS,
  FORMULA_LESS_EQUAL,
  FORMULA_MORE,
  FORMULA_MORE_EQUAL,
  FORMULA_ADD,
  FORMULA_SUBTRACT,
  FORMULA_MULTIPLY,
  FORMULA_DIVIDE,
  FORMULA_POWER,
  FORMULA_MIN,
  FORMULA_MAX
} formula_op;

typedef struct formula_step {
  formula_op op;
  int input;
  double number;
} formula_step;

typedef struct formula_input {
  int name;
  int64_t item;
} formula_input;

struct syz_formula {
  formula_step *step;
  formula_input *input;
  int steps, inputs;
  int stack; /**< numbers that are on it at the most */
  size_t step_room, input_room;
};

/** Number of the name, exactly or else in another case, or -1; then *nearest is the most similar one, "" without any.
 */
int labels_find_name(syz_texts name, const char *wanted, const char **nearest);
