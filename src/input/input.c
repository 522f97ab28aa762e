/* SPDX-License-Identifier: BSD-3-Clause */
/** The input of a run: a table of keys gives every value its type, default, unit and range; numbers are parsed
 * strictly.
 */
#include "input.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *copy_text(const char *text)
{
  size_t n = strlen(text) + 1;
  char *copy = syz_alloc("input value", n, 1);
  if (copy) memcpy(copy, text, n);
  return copy;
}

input_value *input_find(const syz_input *in, const char *path)
{
  for (int i = 0; i < in->n; i++)
    if (strcmp(in->value[i].key->path, path) == 0) return &in->value[i];
  return NULL;
}

bool input_is_section(const syz_input *in, const char *path)
{
  size_t n = strlen(path);
  for (int i = 0; i < in->n; i++)
    if (strncmp(in->value[i].key->path, path, n) == 0 && in->value[i].key->path[n] == '.') return true;
  return false;
}

const char *input_nearest(const syz_input *in, const char *path)
{
  const char *best = "";
  int least = 1 << 20;
  const char *leaf = strrchr(path, '.');
  for (int i = 0; i < in->n; i++) {
    const char *known = in->value[i].key->path, *known_leaf = strrchr(known, '.');
    int d = 2 * syz_edit_distance(path, known);
    /* The right name in the wrong section also counts as near. */
    int d_leaf = 2 * syz_edit_distance(leaf ? leaf + 1 : path, known_leaf ? known_leaf + 1 : known) + 3;
    if (d_leaf < d) d = d_leaf;
    if (d < least) {
      least = d;
      best = known;
    }
  }
  return best;
}

static bool is_choice(const char *choices, const char *text)
{
  size_t n = strlen(text);
  for (const char *c = choices; c && *c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
    if (strncmp(c, text, n) == 0 && (c[n] == '|' || c[n] == '\0')) return n > 0;
  return false;
}

static syz_status check_scalar(const syz_key *k, const char *where, const char *text)
{
  syz_status st = SYZ_OK;
  char *end = NULL;
  errno = 0;
  switch (k->type) {
  case SYZ_KEY_INT: {
    long long x = strtoll(text, &end, 10);
    SYZ_REQUIRE(*text && !isspace((unsigned char)*text) && *end == '\0' && errno == 0, SYZ_ERR_INPUT,
                "%s: %s: \"%s\" is not a whole number", where, k->path, text);
    SYZ_REQUIRE((double)x >= k->min && (double)x <= k->max, SYZ_ERR_INPUT, "%s: %s: %lld is outside %.15g .. %.15g%s%s",
                where, k->path, x, k->min, k->max, *k->unit ? " " : "", k->unit);
    break;
  }
  case SYZ_KEY_REAL: {
    double x = strtod(text, &end);
    bool is_plain = *text && strspn(text, "+-.0123456789eE") == strlen(text);
    SYZ_REQUIRE(is_plain && *end == '\0' && isfinite(x), SYZ_ERR_INPUT, "%s: %s: \"%s\" is not a number", where,
                k->path, text);
    SYZ_REQUIRE(x >= k->min && x <= k->max, SYZ_ERR_INPUT, "%s: %s: %.15g is outside %.15g .. %.15g%s%s", where,
                k->path, x, k->min, k->max, *k->unit ? " " : "", k->unit);
    break;
  }
  case SYZ_KEY_BOOL:
    SYZ_REQUIRE(is_choice("true|false", text), SYZ_ERR_INPUT, "%s: %s: \"%s\" is neither true nor false", where,
                k->path, text);
    break;
  case SYZ_KEY_CHOICE:
    SYZ_REQUIRE(is_choice(k->choices, text), SYZ_ERR_INPUT, "%s: %s: \"%s\" is not one of %s", where, k->path, text,
                k->choices);
    break;
  case SYZ_KEY_TEXT:
  case SYZ_KEY_LIST:
    break;
  }
cleanup:
  return st;
}

syz_status input_store(input_value *v, const char *where, const char *text)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(check_scalar(v->key, where, text));
  char *copy = copy_text(text);
  SYZ_REQUIRE(copy, SYZ_ERR_MEMORY, "%s: no memory", where);
  syz_free(&v->text);
  v->text = copy;
cleanup:
  return st;
}

void input_clear_list(input_value *v)
{
  for (int i = 0; i < v->n_items; i++) syz_free(&v->item[i]);
  v->n_items = 0;
}

syz_status input_append(input_value *v, const char *where, const char *text)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(v->n_items < INPUT_LIST_MAX, SYZ_ERR_INPUT, "%s: %s: more than %d items", where, v->key->path,
              INPUT_LIST_MAX);
  if (!v->item) SYZ_ALLOC(v->item, "input list", INPUT_LIST_MAX);
  v->item[v->n_items] = copy_text(text);
  SYZ_REQUIRE(v->item[v->n_items], SYZ_ERR_MEMORY, "%s: no memory", where);
  v->n_items++;
cleanup:
  return st;
}

/* The next item from *rest, up to a comma; between quotation marks commas are part of it. NULL: none left. It is
 * written over the text itself. */
static char *next_item(char **rest, bool *is_open)
{
  char *p = *rest, *item, *end;
  while (isspace((unsigned char)*p)) p++;
  if (!*p) return NULL;
  char mark = *p == '"' || *p == '\'' ? *p : '\0';
  item = mark ? ++p : p;
  end = strchr(p, mark ? mark : ',');
  bool is_closed = mark && end;
  if (!end) end = p + strlen(p);
  char *next = is_closed ? end + 1 : end;
  while (mark && isspace((unsigned char)*next)) next++;
  *is_open = mark && (!is_closed || (*next && *next != ','));
  *rest = *next ? next + 1 : next;
  while (!mark && end > item && isspace((unsigned char)end[-1])) end--;
  *end = '\0';
  return item;
}

/* "a,b" or "[a, b]" from the command line or a default; a name with a comma is in quotation marks: ["a,b", c]. */
static syz_status store_list(input_value *v, const char *where, const char *text)
{
  syz_status st = SYZ_OK;
  bool is_open = false;
  char *copy = copy_text(text);
  SYZ_REQUIRE(copy, SYZ_ERR_MEMORY, "%s: no memory", where);
  input_clear_list(v);
  char *rest = copy;
  size_t n = strlen(copy);
  if (n >= 2 && copy[0] == '[' && copy[n - 1] == ']') {
    copy[n - 1] = '\0';
    rest++;
  }
  for (char *item; (item = next_item(&rest, &is_open));) {
    SYZ_REQUIRE(!is_open, SYZ_ERR_INPUT, "%s: %s: the quotation marks around %s do not enclose the whole item", where,
                v->key->path, item);
    if (*item) SYZ_TRY(input_append(v, where, item));
  }
cleanup:
  syz_free(&copy);
  return st;
}

static syz_status store_any(input_value *v, const char *where, const char *text)
{
  return v->key->type == SYZ_KEY_LIST ? store_list(v, where, text) : input_store(v, where, text);
}

syz_status syz_input_create(const syz_key *const *table, int n, syz_input **out)
{
  syz_status st = SYZ_OK;
  syz_input *in = NULL;
  int count = 0;
  *out = NULL;
  for (int t = 0; t < n; t++)
    for (const syz_key *k = table[t]; k->path; k++) count++;
  SYZ_ALLOC(in, "input", 1);
  SYZ_ALLOC(in->value, "input values", count > 0 ? count : 1);
  for (int t = 0; t < n; t++)
    for (const syz_key *k = table[t]; k->path; k++) {
      SYZ_REQUIRE(!input_find(in, k->path), SYZ_ERR_INTERNAL, "key %s is in the tables twice", k->path);
      input_value *v = &in->value[in->n++];
      v->key = k;
      SYZ_TRY(store_any(v, "default", k->preset));
    }
  *out = in;
  in = NULL;
cleanup:
  syz_input_destroy(&in);
  return st;
}

void syz_input_destroy(syz_input **in)
{
  if (!*in) return;
  for (int i = 0; (*in)->value && i < (*in)->n; i++) {
    input_value *v = &(*in)->value[i];
    input_clear_list(v);
    syz_free(&v->item);
    syz_free(&v->text);
  }
  syz_free(&(*in)->value);
  syz_free(in);
}

syz_status syz_input_override(syz_input *in, const char *assignment)
{
  syz_status st = SYZ_OK;
  char path[256];
  const char *equals = strchr(assignment, '=');
  SYZ_REQUIRE(equals && equals > assignment && (size_t)(equals - assignment) < sizeof path, SYZ_ERR_INPUT,
              "--set %s: expected path.key=value", assignment);
  memcpy(path, assignment, (size_t)(equals - assignment));
  path[equals - assignment] = '\0';
  input_value *v = input_find(in, path);
  SYZ_REQUIRE(v, SYZ_ERR_INPUT, "--set %s: unknown key \"%s\"; the nearest known one is \"%s\"", assignment, path,
              input_nearest(in, path));
  SYZ_REQUIRE(!v->is_overridden, SYZ_ERR_INPUT, "--set %s: \"%s\" is set twice on the command line", assignment, path);
  SYZ_TRY(store_any(v, "--set", equals + 1));
  v->is_given = v->is_overridden = true;
cleanup:
  return st;
}

syz_status syz_input_assign(syz_input *in, const char *path, const char *value)
{
  input_value *v = input_find(in, path);
  SYZ_ASSERT(v);
  return store_any(v, path, value);
}

/* The program itself names the path, so a missing key or another type is an internal error. */
static const input_value *get(const syz_input *in, const char *path, bool is_right_type(syz_key_type))
{
  const input_value *v = input_find(in, path);
  if (!v || !is_right_type(v->key->type))
    syz_abort(SYZ_ERR_INTERNAL, __FILE__, __LINE__, "no key \"%s\" of that type in the tables", path);
  return v;
}

static bool is_int(syz_key_type t) { return t == SYZ_KEY_INT; }
static bool is_real(syz_key_type t) { return t == SYZ_KEY_REAL || t == SYZ_KEY_INT; }
static bool is_bool(syz_key_type t) { return t == SYZ_KEY_BOOL; }
static bool is_text(syz_key_type t) { return t == SYZ_KEY_TEXT || t == SYZ_KEY_CHOICE; }
static bool is_list(syz_key_type t) { return t == SYZ_KEY_LIST; }
static bool is_any(syz_key_type t) { return t <= SYZ_KEY_LIST; }

int64_t syz_input_int(const syz_input *in, const char *path) { return strtoll(get(in, path, is_int)->text, NULL, 10); }
double syz_input_real(const syz_input *in, const char *path) { return strtod(get(in, path, is_real)->text, NULL); }
bool syz_input_bool(const syz_input *in, const char *path) { return strcmp(get(in, path, is_bool)->text, "true") == 0; }
const char *syz_input_text(const syz_input *in, const char *path) { return get(in, path, is_text)->text; }
int syz_input_list_size(const syz_input *in, const char *path) { return get(in, path, is_list)->n_items; }
bool syz_input_is_given(const syz_input *in, const char *path) { return get(in, path, is_any)->is_given; }

const char *syz_input_list_item(const syz_input *in, const char *path, int i)
{
  const input_value *v = get(in, path, is_list);
  SYZ_ASSERT(i >= 0 && i < v->n_items);
  return v->item[i];
}

syz_texts syz_input_list(const syz_input *in, const char *path)
{
  const input_value *v = get(in, path, is_list);
  return (syz_texts){v->n_items, (const char *const *)v->item};
}

const syz_key *syz_input_key(const syz_input *in, int i) { return i < in->n ? in->value[i].key : NULL; }

void syz_key_describe(const syz_key *key, char *text, size_t room)
{
  static const char *const type[] = {
      [SYZ_KEY_INT] = "whole number", [SYZ_KEY_REAL] = "number", [SYZ_KEY_BOOL] = "true|false",
      [SYZ_KEY_TEXT] = "text",        [SYZ_KEY_CHOICE] = "",     [SYZ_KEY_LIST] = "list of texts"};
  char range[2 * SYZ_NUMBER_TEXT + 8] = "";
  if (key->type == SYZ_KEY_INT || key->type == SYZ_KEY_REAL)
    snprintf(range, sizeof range, ", %s to %s", SYZ_NUMBER(key->min), SYZ_NUMBER(key->max));
  snprintf(text, room, "%s%s%s%s", key->type == SYZ_KEY_CHOICE ? key->choices : type[key->type], range,
           *key->unit ? ", " : "", key->unit);
}
