/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * YAML in and out, through libyaml's events: they carry the line of every key, which the messages name. Accepted: one
 * document, mappings below mappings, scalars and lists of scalars as values. Anchors, tags and several documents are
 * refused.
 */
#include <yaml.h>

#include "input.h"

#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 8, PATH_SIZE = 256, SECTIONS_MAX = 64 };

typedef struct reader {
  syz_input *in;
  const char *name;
  yaml_parser_t parser;
  yaml_event_t event;
  char section[SECTIONS_MAX][PATH_SIZE]; /* met so far, to find repeated ones */
  int n_sections;
} reader;

static syz_status next_event(reader *r)
{
  syz_status st = SYZ_OK;
  yaml_event_delete(&r->event);
  if (!yaml_parser_parse(&r->parser, &r->event)) {
    memset(&r->event, 0, sizeof r->event);
    SYZ_REQUIRE(false, SYZ_ERR_INPUT, "%s:%zu: not YAML: %s", r->name, r->parser.problem_mark.line + 1,
                r->parser.problem ? r->parser.problem : "unknown problem");
  }
  SYZ_REQUIRE(r->event.type != YAML_ALIAS_EVENT, SYZ_ERR_INPUT, "%s:%zu: aliases are not supported", r->name,
              r->event.start_mark.line + 1);
  /* Quoted texts may contain a zero byte ("5\0junk"); the text after it would be lost. */
  SYZ_REQUIRE(r->event.type != YAML_SCALAR_EVENT ||
                  !memchr(r->event.data.scalar.value, '\0', r->event.data.scalar.length),
              SYZ_ERR_INPUT, "%s:%zu: a zero byte (\\0) in the text that begins with \"%.40s\"; remove it", r->name,
              r->event.start_mark.line + 1, (const char *)r->event.data.scalar.value);
cleanup:
  return st;
}

static int event_line(const reader *r) { return (int)r->event.start_mark.line + 1; }
static const char *event_text(const reader *r) { return (const char *)r->event.data.scalar.value; }

static syz_status read_value(reader *r, const char *path, int line, const char *where)
{
  syz_status st = SYZ_OK;
  input_value *v = input_find(r->in, path);
  bool is_section = input_is_section(r->in, path);
  SYZ_REQUIRE(v, SYZ_ERR_INPUT,
              is_section ? "%s: \"%s\" is a section and needs keys below it, such as \"%s\""
                         : "%s: unknown key \"%s\"; the nearest known one is \"%s\"",
              where, path, input_nearest(r->in, path));
  SYZ_REQUIRE(v->line == 0, SYZ_ERR_INPUT, "%s: key \"%s\" is repeated; it is given in line %d already", where, path,
              v->line);
  if (v->key->type == SYZ_KEY_LIST) {
    input_clear_list(v);
    if (r->event.type == YAML_SCALAR_EVENT) {
      if (*event_text(r)) SYZ_TRY(input_append(v, where, event_text(r)));
    } else {
      SYZ_TRY(next_event(r));
      while (r->event.type == YAML_SCALAR_EVENT) {
        SYZ_TRY(input_append(v, where, event_text(r)));
        SYZ_TRY(next_event(r));
      }
      SYZ_REQUIRE(r->event.type == YAML_SEQUENCE_END_EVENT, SYZ_ERR_INPUT, "%s: %s: the items must be plain texts",
                  where, path);
    }
  } else {
    SYZ_REQUIRE(r->event.type == YAML_SCALAR_EVENT, SYZ_ERR_INPUT, "%s: %s: a single value is expected, not a list",
                where, path);
    SYZ_TRY(input_store(v, where, event_text(r)));
  }
  v->line = line;
  v->is_given = true;
cleanup:
  return st;
}

static syz_status open_section(reader *r, const char *path, const char *where)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(input_is_section(r->in, path), SYZ_ERR_INPUT,
              input_find(r->in, path) ? "%s: \"%s\" is a key with a value, not a section (near \"%s\")"
                                      : "%s: unknown section \"%s\"; the nearest known key is \"%s\"",
              where, path, input_nearest(r->in, path));
  for (int i = 0; i < r->n_sections; i++)
    SYZ_REQUIRE(strcmp(r->section[i], path) != 0, SYZ_ERR_INPUT, "%s: section \"%s\" is repeated", where, path);
  SYZ_REQUIRE(r->n_sections < SECTIONS_MAX, SYZ_ERR_INPUT, "%s: too many sections", where);
  snprintf(r->section[r->n_sections++], PATH_SIZE, "%s", path);
cleanup:
  return st;
}

/* The mapping whose start event was just read; `prefix` is its path, "" at the root. */
static syz_status read_mapping(reader *r, const char *prefix, int depth)
{
  syz_status st = SYZ_OK;
  char path[PATH_SIZE], where[PATH_SIZE + 32];
  for (;;) {
    SYZ_TRY(next_event(r));
    if (r->event.type == YAML_MAPPING_END_EVENT) break;
    int line = event_line(r);
    snprintf(where, sizeof where, "%s:%d", r->name, line);
    SYZ_REQUIRE(r->event.type == YAML_SCALAR_EVENT, SYZ_ERR_INPUT, "%s: a key must be a plain text", where);
    int n = snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", event_text(r));
    SYZ_REQUIRE(n < PATH_SIZE, SYZ_ERR_INPUT, "%s: key too long", where);
    SYZ_TRY(next_event(r));
    if (r->event.type == YAML_MAPPING_START_EVENT) {
      SYZ_REQUIRE(depth < DEPTH_MAX, SYZ_ERR_INPUT, "%s: nested too deeply", where);
      SYZ_TRY(open_section(r, path, where));
      SYZ_TRY(read_mapping(r, path, depth + 1));
    } else {
      SYZ_TRY(read_value(r, path, line, where));
    }
  }
cleanup:
  return st;
}

syz_status syz_input_parse(syz_input *in, const char *name, const char *text, size_t n)
{
  syz_status st = SYZ_OK;
  reader *r = NULL;
  bool has_parser = false;
  SYZ_ALLOC(r, "YAML reader", 1);
  r->in = in;
  r->name = name;
  SYZ_REQUIRE(yaml_parser_initialize(&r->parser), SYZ_ERR_MEMORY, "%s: no memory for the YAML parser", name);
  has_parser = true;
  yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, n);
  SYZ_TRY(next_event(r)); /* stream start */
  SYZ_TRY(next_event(r)); /* document start, or end of an empty stream */
  if (r->event.type == YAML_DOCUMENT_START_EVENT) {
    SYZ_TRY(next_event(r));
    bool is_empty = r->event.type == YAML_SCALAR_EVENT && !*event_text(r);
    SYZ_REQUIRE(is_empty || r->event.type == YAML_MAPPING_START_EVENT, SYZ_ERR_INPUT,
                "%s:%d: expected `key: value` lines", name, event_line(r));
    if (!is_empty) SYZ_TRY(read_mapping(r, "", 0));
    SYZ_TRY(next_event(r)); /* document end */
    SYZ_TRY(next_event(r));
    SYZ_REQUIRE(r->event.type == YAML_STREAM_END_EVENT, SYZ_ERR_INPUT, "%s:%d: a second document; one is expected",
                name, event_line(r));
  }
cleanup:
  if (has_parser) {
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
  }
  syz_free(&r);
  return st;
}

/* ---------------------------------------------------------------- writing */

typedef struct text_buffer {
  char *text;
  size_t n, room;
  bool is_lost;
} text_buffer;

static void put(text_buffer *b, const char *text)
{
  size_t n = strlen(text);
  if (syz_grow(&b->text, "YAML text", b->n, n + 1, &b->room) != SYZ_OK) {
    b->is_lost = true;
    return;
  }
  memcpy(b->text + b->n, text, n + 1);
  b->n += n;
}

/* Plain where that is safe, otherwise double-quoted with escapes. */
static void put_scalar(text_buffer *b, const syz_key *k, const char *text)
{
  bool is_plain = k->type != SYZ_KEY_TEXT && k->type != SYZ_KEY_LIST;
  if (!is_plain)
    is_plain =
        *text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+") == strlen(text);
  if (is_plain) {
    put(b, text);
    return;
  }
  put(b, "\"");
  for (const char *c = text; *c; c++) {
    char piece[8] = {*c, '\0'};
    if (*c == '"' || *c == '\\') snprintf(piece, sizeof piece, "\\%c", *c);
    if ((unsigned char)*c < 0x20) snprintf(piece, sizeof piece, "\\x%02X", (unsigned)(unsigned char)*c);
    put(b, piece);
  }
  put(b, "\"");
}

static void indent(text_buffer *b, int depth)
{
  for (int i = 0; i < depth; i++) put(b, "  ");
}

static bool is_below(const char *path, const char *section)
{
  size_t n = strlen(section);
  return n == 0 || (strncmp(path, section, n) == 0 && path[n] == '.');
}

/* All keys below `section`, whose name is already written; keys with values first, then sections, each in table order.
 */
static void put_section(text_buffer *b, const syz_input *in, uint32_t commands, const char *section, int depth)
{
  size_t skip = strlen(section) + (*section ? 1 : 0);
  for (int i = 0; i < in->n; i++) {
    const input_value *v = &in->value[i];
    if (!is_below(v->key->path, section) || (commands && !(v->key->commands & commands)) ||
        strchr(v->key->path + skip, '.'))
      continue;
    indent(b, depth);
    put(b, v->key->path + skip);
    put(b, ": ");
    if (v->key->type == SYZ_KEY_LIST) {
      put(b, "[");
      for (int j = 0; j < v->n_items; j++) {
        if (j) put(b, ", ");
        put_scalar(b, v->key, v->item[j]);
      }
      put(b, "]");
    } else {
      put_scalar(b, v->key, v->text);
    }
    put(b, "\n");
  }
  for (int i = 0; i < in->n; i++) {
    const char *path = in->value[i].key->path;
    if (!is_below(path, section) || (commands && !(in->value[i].key->commands & commands))) continue;
    const char *dot = strchr(path + skip, '.');
    if (!dot) continue;
    char child[PATH_SIZE];
    snprintf(child, sizeof child, "%.*s", (int)(dot - path), path);
    bool is_first = true;
    for (int j = 0; j < i && is_first; j++)
      if (is_below(in->value[j].key->path, child) && (!commands || (in->value[j].key->commands & commands)))
        is_first = false;
    if (!is_first) continue;
    indent(b, depth);
    put(b, child + skip);
    put(b, ":\n");
    put_section(b, in, commands, child, depth + 1);
  }
}

char *syz_input_yaml(const syz_input *in, uint32_t commands, const char *section)
{
  text_buffer b = {0};
  put(&b, "");
  if (section) {
    put(&b, section);
    put(&b, ":\n");
    put_section(&b, in, commands, section, 1);
  } else {
    put_section(&b, in, commands, "", 0);
  }
  if (b.is_lost) syz_free(&b.text);
  return b.text;
}
