"""The challenge's score over its dose reduction factors, for every method of one group of cases."""

from __future__ import annotations

from training.udpet.challenge_score import DRF_WEIGHTS, GROUP_WEIGHTS, drf_score

SCORE = "score"


def challenge_scores(doses: dict) -> dict[str, dict[str, float]]:
    """{method: {"DRF 4": score, ..., "all": by the challenge's weights, "global", "organs", "lesions"}}.

    doses: {input dose: {method: means}} of a table. What a method was not run from lacks, and "all" and the three parts
    with it; a method without any score lacks as a whole.
    """
    table = {}
    for method in dict.fromkeys(name for methods in doses.values() for name in methods):
        found = {drf: doses.get(f"1/{drf}", {}).get(method, {}).get("challenge") or {} for drf in DRF_WEIGHTS}
        scores = {f"DRF {drf}": parts[SCORE] for drf, parts in found.items() if parts}
        for name, key in (("all", SCORE), *((group, group) for group in GROUP_WEIGHTS)):
            if all(key in parts for parts in found.values()):
                scores[name] = drf_score({drf: parts[key] for drf, parts in found.items()})
        if scores:
            table[method] = scores
    return table


def format_challenge(means: dict) -> str:
    """The scores as text: a block per scanner, a line per method; "" where nothing was scored."""
    titles = [*(f"DRF {drf}" for drf in DRF_WEIGHTS), "all", *GROUP_WEIGHTS]
    lines = []
    for scanner, doses in means.items():
        if scores := challenge_scores(doses):
            lines += [f"\n{scanner}, UDPET challenge", f"{'method':34}" + "".join(f"{title:>9}" for title in titles)]
            for name, row in scores.items():
                lines.append(f"{name:34}" + "".join(f"{row[t]:9.2f}" if t in row else f"{'-':>9}" for t in titles))
    return "\n".join(lines)
