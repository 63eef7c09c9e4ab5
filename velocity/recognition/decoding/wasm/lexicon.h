// The lexicon: a tree of pronunciations.

#pragma once

#include "common.h"
#include "ngrams.h"

// A beginning of a pronunciation. Its children are consecutive nodes, in the order of their phones.
typedef struct {
  uint64_t phones;               // bit p is set if a child is longer by phone p
  double ahead;                  // what it is worth (Ortmanns et al. 1996, "Language-model look-ahead")
  int32_t child, depth;          // the first child; how many phones it has
  int32_t spelled, homophones;   // the words that are pronounced so, in `spoken`
} Node;

static Node *nodes;
static int32_t nowhere;  // the last node: phones that no word begins with
static double weight, bonus;
static const uint32_t *known;  // (words,) the word's number in the language model
static const uint8_t *sounds;  // the phones of all words, one after the other
static uint32_t *sound;        // (words + 1,) where those of a word begin
static uint8_t *hot;           // (words,) whether it is a hot word
static int32_t *spoken;        // the words that have a pronunciation, by it
static int32_t spoken_count;

static int32_t length_of(int32_t word) { return (int32_t)(sound[word + 1] - sound[word]); }

// What follows so many phones of a word: 0 for its end, or one more than the phone.
static int32_t phone_after(int32_t word, int32_t count) {
  return count < length_of(word) ? 1 + sounds[sound[word] + count] : 0;
}

static double alone(int32_t word) { return weight * levels[0].log_probs[known[word]] + bonus; }

// `numbers` (words,): in the language model; these and `phones` are the module's from then on. `lengths` (words,): of
// their pronunciations.
EXPORT(set_words) void set_words(
    int32_t count, const uint32_t *numbers, const uint8_t *phones, const uint16_t *lengths, double lm_weight,
    double word_bonus) {
  known = numbers, sounds = phones, weight = lm_weight, bonus = word_bonus;
  hot = allocate(count);
  memset(hot, 0, count);
  sound = allocate((count + 1) * sizeof *sound);
  spoken = allocate(count * sizeof *spoken);
  sound[0] = 0;
  for (int32_t word = 0; word < count; word++) {
    sound[word + 1] = sound[word] + lengths[word];
    if (lengths[word]) spoken[spoken_count++] = word;
  }

  // The nodes, and the words of each one in `spoken`: first those that end there, then by the next phone.
  int32_t capacity = 0, words_room = 0, made = 1;
  int32_t *until = room(NULL, &words_room, 1, sizeof *until), *sorted = allocate(spoken_count * sizeof *sorted);
  nodes = room(NULL, &capacity, 1, sizeof *nodes);
  nodes[ROOT] = (Node){.ahead = 0};
  until[ROOT] = spoken_count;
  for (int32_t at = 0; at < made; at++) {
    int32_t depth = nodes[at].depth, first = nodes[at].spelled, places[CLASSES + 1];
    double best[CLASSES + 1];
    uint64_t there = 0;
    for (int32_t row = first; row < until[at]; row++) {  // a counting sort by what follows: the end or a phone
      int32_t next = phone_after(spoken[row], depth);
      if (!(there >> next & 1)) places[next] = 0, best[next] = -INFINITY;
      there |= (uint64_t)1 << next;
      places[next]++;
      best[next] = fmax(best[next], alone(spoken[row]));
    }
    nodes[at].phones = there >> 1;
    nodes[at].homophones = there & 1 ? places[0] : 0;
    nodes[at].child = made;
    int32_t place = first;
    for (uint64_t left = there; left; left &= left - 1) {
      int32_t next = __builtin_ctzll(left), count = places[next];
      places[next] = place, place += count;
      if (next == 0) continue;
      nodes = room(nodes, &capacity, made + 2, sizeof *nodes);
      until = room(until, &words_room, made + 1, sizeof *until);
      nodes[made] = (Node){.ahead = best[next], .depth = depth + 1, .spelled = place - count};
      until[made++] = place;
    }
    for (int32_t row = first; row < until[at]; row++) sorted[places[phone_after(spoken[row], depth)]++] = spoken[row];
    memcpy(spoken + first, sorted + first, (until[at] - first) * sizeof *spoken);
  }
  free(until), free(sorted);
  nodes = room(nodes, &capacity, made + 1, sizeof *nodes);
  nowhere = made;
  nodes[nowhere] = (Node){.ahead = weight * levels[0].log_probs[UNKNOWN] + bonus + UNKNOWN_WORD};
}

// The node that is longer by a phone.
static int32_t longer(int32_t node, int32_t phone) {
  uint64_t there = nodes[node].phones, bit = (uint64_t)1 << phone;
  return there & bit ? nodes[node].child + __builtin_popcountll(there & (bit - 1)) : nowhere;
}
