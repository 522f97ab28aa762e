/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room input: the values, shared by input.c (meaning) and input_yaml.c (text). */
#pragma once

#include "syzygy/input.h"

enum { INPUT_LIST_MAX = 4096 };

typedef struct input_value {
  const syz_key *key;
  char *text;  /* scalars */
  char **item; /* lists */
  int n_items;
  int line; /* line in the input file; 0: not given there */
  bool is_given, is_overridden;
} input_value;

struct syz_input {
  input_value *value;
  int n;
};

/** The value of a path, or NULL. */
input_value *input_find(const syz_input *in, const char *path);
/** Whether some key is in this section ("train" of "train.lr"). */
bool input_is_section(const syz_input *in, const char *path);
/** The known path with the fewest edits. */
const char *input_nearest(const syz_input *in, const char *path);
/** Check and store a scalar; `where` ("file.yaml:3" or "--set") begins the message. */
syz_status input_store(input_value *v, const char *where, const char *text);
/** Append an item to a list that input_clear_list emptied. */
syz_status input_append(input_value *v, const char *where, const char *text);
void input_clear_list(input_value *v);
