/* SPDX-License-Identifier: BSD-3-Clause */
/* The text of the page: a growing buffer, escaping, head and styles. The page loads nothing from outside. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "report.h"

void syz_page_bytes(syz_page *p, const char *text, size_t n)
{
  if (p->has_failed) return;
  if (syz_grow(&p->text, "page", p->n, n + 1, &p->room) != SYZ_OK) {
    p->has_failed = true;
    return;
  }
  memcpy(p->text + p->n, text, n);
  p->n += n;
  p->text[p->n] = '\0';
}

void syz_page_put(syz_page *p, const char *text) { syz_page_bytes(p, text, strlen(text)); }

static void page_vprintf(syz_page *p, bool is_escaped, const char *format, va_list arguments)
{
  char small[4096];
  int n = vsnprintf(small, sizeof small, format, arguments);
  if (n < 0)
    p->has_failed = true;
  else if (is_escaped)
    syz_page_escape(p, small);
  else
    syz_page_bytes(p, small, (size_t)n < sizeof small ? (size_t)n : sizeof small - 1);
}

void syz_page_printf(syz_page *p, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  page_vprintf(p, false, format, arguments);
  va_end(arguments);
}

/* Bytes of the UTF-8 character at s, 0 when it is none. */
static int utf8_length(const unsigned char *s)
{
  int n = s[0] < 0x80                   ? 1
          : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
          : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
          : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                        : 0;
  for (int i = 1; i < n; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  return n;
}

void syz_page_escape(syz_page *p, const char *text)
{
  for (const unsigned char *s = (const unsigned char *)text; *s;) {
    int n = utf8_length(s);
    if (n == 0 || (*s < 0x20 && *s != '\n' && *s != '\t'))
      syz_page_put(p, "&#xfffd;");
    else if (*s == '&')
      syz_page_put(p, "&amp;");
    else if (*s == '<')
      syz_page_put(p, "&lt;");
    else if (*s == '>')
      syz_page_put(p, "&gt;");
    else if (*s == '"')
      syz_page_put(p, "&quot;");
    else if (*s == '\'')
      syz_page_put(p, "&#39;");
    else
      syz_page_bytes(p, (const char *)s, (size_t)n);
    s += n ? n : 1;
  }
}

void syz_page_missing(syz_page *p, const char *format, ...)
{
  va_list arguments;
  syz_page_put(p, "<p class=\"missing\">");
  va_start(arguments, format);
  page_vprintf(p, true, format, arguments);
  va_end(arguments);
  syz_page_put(p, "</p>\n");
}

const char *syz_page_number(double value, char text[32])
{
  double size = fabs(value);
  if (!isfinite(value))
    snprintf(text, 32, "n/a");
  else if (size >= 1e7)
    snprintf(text, 32, "%.3g", value);
  else if (size >= 1000 && value == floor(value)) {
    long long whole = (long long)size;
    if (whole >= 1000000)
      snprintf(text, 32, "%s%lld,%03lld,%03lld", value < 0 ? "-" : "", whole / 1000000, whole / 1000 % 1000,
               whole % 1000);
    else
      snprintf(text, 32, "%s%lld,%03lld", value < 0 ? "-" : "", whole / 1000, whole % 1000);
  } else
    snprintf(text, 32, "%.4g", value);
  return text;
}

/* Colours: text and surfaces by role, four series colours that are distinct with all common kinds of colour blindness
 * (Okabe & Ito 2008). */
static const char style[] =
    ":root{color-scheme:light "
    "dark;--page:#f6f7f9;--card:#fff;--ink:#16191f;--soft:#5a6270;--line:#dfe3e9;--grid:#e9ecf1;--c0:#0067b0;--c1:#"
    "c4570a;--c2:#00795c;--c3:#a3478a;--good:#00795c;--note:#fff6e3;--note-ink:#6b4a00;--shade:0 1px 2px "
    "rgba(16,24,40,.06),0 4px 16px rgba(16,24,40,.05)}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#0d1015;--card:#161a21;--ink:#e8ebf0;--soft:#9aa4b2;--line:#2a303a;"
    "--grid:#222831;--c0:#5db4f5;--c1:#f2994a;--c2:#3ccaa0;--c3:#df8fca;--good:#3ccaa0;--note:#2b2413;--note-ink:#"
    "f0cf85;--shade:none}}\n"
    "*{box-sizing:border-box}html{scroll-behavior:smooth}@media(prefers-reduced-motion:reduce){html{scroll-behavior:"
    "auto}}\n"
    "body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,\"Segoe "
    "UI\",Roboto,\"Noto Sans\",sans-serif;font-variant-numeric:tabular-nums}\n"
    "main,header,footer,nav{max-width:1180px;margin:0 auto;padding:0 24px}\n"
    "header{padding-top:44px;padding-bottom:8px}header p{margin:4px "
    "0;color:var(--soft)}h1{font-size:2rem;line-height:1.2;letter-spacing:-.02em;margin:0 0 "
    "6px;overflow-wrap:anywhere}\n"
    "nav{display:flex;gap:6px "
    "18px;flex-wrap:wrap;padding-top:10px;padding-bottom:2px}a{color:var(--c0);text-underline-offset:3px}nav "
    "a{text-decoration:none;font-weight:550}nav a:hover{text-decoration:underline}\n"
    "h2{font-size:1.35rem;letter-spacing:-.01em;margin:52px 0 "
    "4px;scroll-margin-top:16px}h3{font-size:1.02rem;overflow-wrap:anywhere;margin:0 "
    "0 8px}.lead{color:var(--soft);margin:0 0 18px;max-width:76ch}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:14px;margin:22px 0 "
    "0}.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:14px;box-shadow:var(--shade)}\n"
    ".tile{padding:16px 18px}.tile "
    "b{display:block;font-size:1.7rem;line-height:1.15;letter-spacing:-.02em;font-weight:650}.tile "
    "span{color:var(--soft);font-size:.875rem}\n"
    ".card{padding:18px 20px;margin:0 0 "
    "16px}.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:16px}.charts "
    ".card{margin:0}\n"
    "svg{display:block;width:100%;height:auto;overflow:visible}svg text{fill:var(--soft);font-size:12px}svg "
    ".title{fill:var(--ink)}.axis{stroke:var(--soft);stroke-width:1;fill:none}.gridline{stroke:var(--grid);stroke-"
    "width:1}\n"
    ".k0{stroke:var(--c0)}.k1{stroke:var(--c1)}.k2{stroke:var(--c2)}.k3{stroke:var(--c3)}.f0{fill:var(--c0)}.f1{fill:"
    "var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}\n"
    ".curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.faint{stroke-width:1;opacity:.38}."
    "dashed{stroke-dasharray:5 5;stroke-width:1.5}\n"
    ".points{fill:none;stroke-width:3;stroke-linecap:round;opacity:.4}.area{opacity:.2}.histogram{opacity:.55}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:2px 0 8px;color:var(--soft);font-size:.875rem}.legend "
    "svg{width:22px;height:10px;display:inline-block;vertical-align:middle;margin-right:6px}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.94rem}caption{text-align:left;color:"
    "var(--soft);padding:0 0 8px}th,td{padding:8px 10px;text-align:right;border-bottom:1px solid "
    "var(--line);white-space:nowrap}\n"
    "th{font-weight:600;color:var(--soft);font-size:.85rem}th:first-child,td:first-child{text-align:left}tbody "
    "th{color:var(--ink);font-size:inherit;font-weight:500}tbody "
    "tr:last-child>*{border-bottom:0}.by{color:var(--soft);font-size:.82rem}\n"
    ".bar{display:inline-block;width:80px;height:8px;border-radius:4px;background:var(--grid);vertical-align:middle;"
    "margin-left:10px;overflow:hidden}.bar i{display:block;height:100%;background:var(--c0);border-radius:4px}\n"
    ".missing{background:var(--note);color:var(--note-ink);border-radius:12px;padding:12px 16px;margin:0 0 16px}\n"
    ".query{display:grid;grid-template-columns:auto minmax(0,1fr);gap:18px;align-items:center;border-bottom:1px solid "
    "var(--line);padding-bottom:16px;margin-bottom:14px}\n"
    ".id{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.8rem;color:var(--soft);overflow-"
    "wrap:anywhere}.stamp{display:block;border-radius:8px;background:#000}.query .stamp{width:190px;height:190px}\n"
    ".direction{display:grid;grid-template-columns:104px minmax(0,1fr);gap:14px;padding:10px "
    "0;align-items:start}.direction>div:first-child{font-size:.9rem;font-weight:600;line-height:1.35;padding-top:4px}."
    "direction small{display:block;font-weight:400;color:var(--soft)}\n"
    ".strip{display:grid;grid-auto-flow:column;grid-auto-columns:minmax(132px,1fr);gap:12px;overflow-x:auto;padding-"
    "bottom:4px}.near{margin:0;min-width:0;position:relative}.near .stamp{width:100%;aspect-ratio:1;height:auto}\n"
    ".near figcaption{font-size:.82rem;line-height:1.4;padding-top:4px}.near figcaption b{font-weight:600}.near "
    "svg{margin-top:4px}.own .stamp{outline:3px solid "
    "var(--good);outline-offset:1px}.badge{color:var(--good);font-weight:600}\n"
    ".blank{display:flex;align-items:center;justify-content:center;aspect-ratio:1;border:1px dashed "
    "var(--line);border-radius:8px;color:var(--soft);font-size:.82rem;text-align:center;padding:8px}.query "
    ".blank{width:190px}\n"
    "details{margin:0 0 12px}summary{cursor:pointer;font-weight:550}pre{background:var(--card);border:1px solid "
    "var(--line);border-radius:12px;padding:14px 16px;overflow-x:auto;font:13px/1.5 "
    "ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\n"
    "dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:6px "
    "20px;margin:0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}footer{color:var(--soft);font-size:.875rem;"
    "padding-top:40px;padding-bottom:48px}\n"
    "@media(max-width:640px){main,header,footer,nav{padding-left:16px;padding-right:16px}.direction{grid-template-"
    "columns:1fr;gap:6px}.query{grid-template-columns:1fr}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}}\n"
    "@media print{body{background:#fff}.card,.tile{box-shadow:none;break-inside:avoid}nav{display:none}}\n";

void syz_page_begin(syz_page *p, const char *title)
{
  syz_page_put(p, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
                  "content=\"width=device-width,initial-scale=1\">\n<title>");
  syz_page_escape(p, title);
  syz_page_put(p, "</title>\n<style>\n");
  syz_page_put(p, style);
  syz_page_put(p, "</style>\n</head>\n<body>\n");
}

void syz_page_end(syz_page *p) { syz_page_put(p, "</body>\n</html>\n"); }

void syz_page_section(syz_page *p, const char *id, const char *title)
{
  syz_page_printf(p, "<h2 id=\"%s\">%s</h2>\n", id, title);
}

void syz_page_lead(syz_page *p, const char *lead) { syz_page_printf(p, "<p class=\"lead\">%s</p>\n", lead); }

void syz_page_free(syz_page *p) { syz_free(&p->text); }
