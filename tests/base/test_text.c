/* SPDX-License-Identifier: BSD-3-Clause */
/** Numbers as people write them, and nouns that follow them. */
#include "check.h"

int main(void)
{
  static const struct {
    double x;
    const char *text;
  } known[] = {
      {0, "0"},       {12345, "12,345"}, {-1048576, "-1,048,576"},        {999, "999"},        {1e6, "1,000,000"},
      {4e9, "4e9"},   {9e15, "9e15"},    {4294967295.0, "4,294,967,295"}, {1e-5, "1e-5"},      {0.05, "0.05"},
      {1e30, "1e30"}, {1e-30, "1e-30"},  {0.999999, "0.999999"},          {-2.5e-7, "-2.5e-7"}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) CHECK(strcmp(SYZ_NUMBER(known[i].x), known[i].text) == 0);
  CHECK(strcmp(SYZ_COUNT(1, "rank"), "1 rank") == 0);
  CHECK(strcmp(SYZ_COUNT(0, "rank"), "0 ranks") == 0);
  CHECK(strcmp(SYZ_COUNT(1000, "rank"), "1,000 ranks") == 0);
  CHECK(strcmp(SYZ_COUNT(INT64_MIN, "rank"), "-9,223,372,036,854,775,808 ranks") == 0);
  return CHECK_RESULT();
}
