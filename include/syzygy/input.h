/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * input: the input file and the command line as one set of typed values, by a table of keys.
 *
 * Nothing here is collective.
 */
#pragma once

#include "syzygy/base.h"

typedef enum syz_key_type {
  SYZ_KEY_INT,
  SYZ_KEY_REAL,
  SYZ_KEY_BOOL,
  SYZ_KEY_TEXT,
  SYZ_KEY_CHOICE,
  SYZ_KEY_LIST
} syz_key_type;

/** One key of the input file: tables of keys are the only lists of keys in the program. */
typedef struct syz_key {
  const char *path;    /**< "train.lr" */
  syz_key_type type;   /**< SYZ_KEY_LIST: a list of texts; a single text is a list of one */
  const char *preset;  /**< default, written as in the file; lists: comma-separated, "" = empty */
  const char *unit;    /**< "" without a unit */
  double min, max;     /**< inclusive range of numbers; ignored for the other types */
  const char *choices; /**< SYZ_KEY_CHOICE: "a|b|c"; otherwise NULL */
  uint32_t commands;   /**< bit mask of the commands that use it (bits are the application's) */
  const char *help;    /**< one sentence */
} syz_key;

/** A parsed input: every key of its tables has a value. */
typedef struct syz_input syz_input;

/** Create an input with all keys at their defaults. `table` [n]: arrays of keys, each ended by an entry with path NULL;
 * must never be freed. */
syz_status syz_input_create(const syz_key *const *table, int n, syz_input **out);
void syz_input_destroy(syz_input **in);
/** Read YAML text. `name` (the file) goes into messages with line numbers. SYZ_ERR_INPUT on unknown, repeated or
 * ill-typed keys. */
syz_status syz_input_parse(syz_input *in, const char *name, const char *text, size_t n);
/** Apply one "path=value" of the command line. It may replace a value of the file, but a key may be given only once.
 * Lists: a,b or [a, b], items with commas in quotation marks. */
syz_status syz_input_override(syz_input *in, const char *assignment);
int64_t syz_input_int(const syz_input *in, const char *path);
double syz_input_real(const syz_input *in, const char *path);
bool syz_input_bool(const syz_input *in, const char *path);
/** TEXT and CHOICE; borrowed until the input is destroyed. */
const char *syz_input_text(const syz_input *in, const char *path);
/** Number of items of a LIST, and the items; borrowed. */
int syz_input_list_size(const syz_input *in, const char *path);
const char *syz_input_list_item(const syz_input *in, const char *path, int i);
/** All items of a LIST; borrowed until the input changes. */
syz_texts syz_input_list(const syz_input *in, const char *path);
/** Whether the file or the command line gave this key. */
bool syz_input_is_given(const syz_input *in, const char *path);
/** Set a key from the program, e.g. from the configuration of a model file; checked like a value of the input file. */
syz_status syz_input_assign(syz_input *in, const char *path, const char *value);
/** The resolved input as YAML, every key of the sections that any command of the mask uses (0 = all); `section` NULL or
 * one top-level section ("model"). Owned by the caller: syz_free. NULL without memory. */
char *syz_input_yaml(const syz_input *in, uint32_t commands, const char *section);
/** Key number i of the tables, in their order; NULL behind the last. */
const syz_key *syz_input_key(const syz_input *in, int i);
/** What a key accepts, for help: "whole number, 1 to 1,000, objects". */
void syz_key_describe(const syz_key *key, char *text, size_t room);
