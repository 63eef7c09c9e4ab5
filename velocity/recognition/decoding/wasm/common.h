// Constants, memory, and hash tables.

#pragma once

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(#name)))

enum { BLANK = 0, BOUNDARY = 1, CLASSES = 48 };  // as in velocity/phones.py; BOUNDARY is between words
enum { UNKNOWN = 0, START = 1, END = 2 };        // words of every language model
enum { MOST_ORDER = 8 };                         // words of an n-gram
enum { NO_WORD = -1, NOTHING = -2 };             // in place of a word: phones that are no word's; no word ends here
enum { ROOT = 0, NO_PHRASE = 0 };                // the first node; no phrase of hot words has begun
enum { FREE = -1 };                              // in place of an index

static const double UNKNOWN_WORD = -10;  // nats added to the score of phones that are no word's, as in fusion.py
static const double UNKNOWN_PHONE = -2;  // nats for each of them, so that one "word" does not swallow a sentence

// Of the margin: paths that end a word or the text are dropped when the n-grams rate them so much worse than the best
// one, before a network is asked.
static const double END_MARGIN = 0.7;

static void *checked(void *memory) {
  if (!memory) __builtin_trap();
  return memory;
}

EXPORT(allocate) void *allocate(uint32_t bytes) { return checked(malloc(bytes ? bytes : 1)); }

EXPORT(release) void release(void *memory) { free(memory); }

// Room for `count` items of `bytes`, in a list that grows.
static void *room(void *items, int32_t *capacity, int32_t count, size_t bytes) {
  if (count <= *capacity) return items;
  *capacity = count > 2 * *capacity ? count : 2 * *capacity;
  return checked(realloc(items, *capacity * bytes));
}

// An index of items by three numbers: a hash table with open addressing, whose slots have the items' numbers or FREE.
typedef struct {
  int32_t *slots;
  uint32_t mask;
} Index;

static uint32_t hash(int32_t a, int32_t b, int32_t c) {
  uint64_t value = (uint64_t)(uint32_t)a * 0x9E3779B97F4A7C15u;
  value = (value ^ (value >> 29) ^ (uint32_t)b) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 29) ^ (uint32_t)c) * 0x94D049BB133111EBu;
  return (uint32_t)(value >> 32);
}

// Empty, with room for so many items.
static void clear_index(Index *index, int32_t items) {
  uint32_t slots = 64;
  while (slots < 2u * (uint32_t)items) slots *= 2;
  if (!index->slots || slots > index->mask + 1) {
    index->slots = checked(realloc(index->slots, slots * sizeof *index->slots));
    index->mask = slots - 1;
  }
  memset(index->slots, 0xff, (index->mask + 1) * sizeof *index->slots);
}
