// Hot words and their phrases.

#pragma once

#include "common.h"
#include "lexicon.h"

// From a place in a phrase by a hot word to the next place, and the nats earned. Any other word leads to NO_PHRASE.
typedef struct {
  int32_t place, word, after;
  double earned;
} Spelling;

// What is lent at a node while a phrase is at a place.
typedef struct {
  int32_t place, node;
  double nats;
} Loan;

static Spelling *spellings;
static Loan *loans;
static int32_t spelling_count, spelling_room, loan_count, loan_room;
static Index spelling_index, loan_index;

static int32_t *spelling_slot(int32_t place, int32_t word) {
  uint32_t at = hash(place, word, 0) & spelling_index.mask;
  for (; spelling_index.slots[at] != FREE; at = (at + 1) & spelling_index.mask) {
    const Spelling *found = &spellings[spelling_index.slots[at]];
    if (found->place == place && found->word == word) break;
  }
  return &spelling_index.slots[at];
}

static int32_t *loan_slot(int32_t place, int32_t node) {
  uint32_t at = hash(place, node, 1) & loan_index.mask;
  for (; loan_index.slots[at] != FREE; at = (at + 1) & loan_index.mask) {
    const Loan *found = &loans[loan_index.slots[at]];
    if (found->place == place && found->node == node) break;
  }
  return &loan_index.slots[at];
}

static void add_loan(int32_t place, int32_t node, double nats) {
  if (2 * (loan_count + 1) > (int32_t)(loan_index.slots ? loan_index.mask : 0)) {
    clear_index(&loan_index, 2 * (loan_count + 1));
    for (int32_t i = 0; i < loan_count; i++) *loan_slot(loans[i].place, loans[i].node) = i;
  }
  int32_t *slot = loan_slot(place, node);
  if (*slot == FREE) {
    loans = room(loans, &loan_room, loan_count + 1, sizeof *loans);
    loans[loan_count] = (Loan){place, node, nats};
    *slot = loan_count++;
  } else if (nats > loans[*slot].nats) {
    loans[*slot].nats = nats;
  }
}

// The nats lent between words at a place.
EXPORT(lend) void lend(int32_t place, double nats) { add_loan(place, ROOT, nats); }

// At a place a hot word leads to the place `after` and earns so many nats. On its way the loan goes from `lent` to
// `whole` in proportion to its phones; of several words that begin so, the best one counts.
EXPORT(spell) void spell(int32_t place, int32_t word, int32_t after, double earned, double lent, double whole) {
  if (2 * (spelling_count + 1) > (int32_t)(spelling_index.slots ? spelling_index.mask : 0)) {
    clear_index(&spelling_index, 2 * (spelling_count + 1));
    for (int32_t i = 0; i < spelling_count; i++) *spelling_slot(spellings[i].place, spellings[i].word) = i;
  }
  hot[word] = 1;
  spellings = room(spellings, &spelling_room, spelling_count + 1, sizeof *spellings);
  spellings[spelling_count] = (Spelling){place, word, after, earned};
  *spelling_slot(place, word) = spelling_count++;
  int32_t node = ROOT, length = length_of(word);
  for (int32_t count = 1; count <= length; count++) {
    node = longer(node, sounds[sound[word] + count - 1]);
    add_loan(place, node, lent + (whole - lent) * count / length);
  }
}

static double loan(int32_t place, int32_t node) {
  double nats = 0;
  int32_t found = *loan_slot(NO_PHRASE, node);
  if (found != FREE) nats = loans[found].nats;
  if (place != NO_PHRASE && (found = *loan_slot(place, node)) != FREE) nats = fmax(nats, loans[found].nats);
  return nats;
}

static double follow_phrase(int32_t *place, int32_t word) {
  int32_t found = *spelling_slot(*place, word);
  if (found == FREE) found = *spelling_slot(NO_PHRASE, word);
  *place = found == FREE ? NO_PHRASE : spellings[found].after;
  return found == FREE ? 0 : spellings[found].earned;
}
