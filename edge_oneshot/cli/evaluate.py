"""`edge-oneshot evaluate`: error rates on labelled pictures."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_oneshot.cli.common import find_config, json_option, print_json, progress

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.evaluation.dataset import Embedded, Picture

Command = Callable[..., None]
images_option = click.option(
    "--images",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Pictures as DIR/Name/Name_0001.jpg.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(1, 64), default=os.cpu_count() or 1, show_default=True, help="Threads."
)
html_option = click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the report with its figures as one HTML page.",
)


@click.group()
def evaluate() -> None:
    """Measure error rates on labelled pictures, through exactly the daemon's path."""


def common(command: Command) -> Command:
    return images_option(workers_option(html_option(json_option(click.pass_context(command)))))


def encode(pictures: list[Picture], config: Config, workers: int) -> Embedded:
    from edge_oneshot.evaluation.dataset import embed
    from edge_oneshot.service.compose import build_pipeline

    config = replace(config, model=replace(config.model, threads=1))
    with progress(len(pictures), "encoding") as done:
        return embed(pictures, lambda: build_pipeline(config), workers, done)


def tell(
    result: dict[str, Any],
    as_json: bool,
    html_file: Path | None,
    page: Callable[[], str],
    text: Callable[[dict[str, Any]], None],
) -> None:
    if html_file is not None:
        html_file.write_text(page(), encoding="utf-8")
        click.echo(f"wrote {html_file}", err=True)
    print_json(result) if as_json else text(result)


@evaluate.command()
@click.option(
    "--pairs",
    "pairs_file",
    required=True,
    metavar="FILE|all",
    help="Pairs in LFW's format, or `all` for every pair of pictures.",
)
@common
def verification(
    ctx: click.Context, images: Path, pairs_file: str, workers: int, html_file: Path | None, as_json: bool
) -> None:
    """Compare pairs of pictures (1:1): accuracy, EER, TAR at fixed false match rates."""
    from edge_oneshot.evaluation.comparisons import all_pairs, only_used, read_pairs, score_pairs
    from edge_oneshot.evaluation.dataset import find_pictures
    from edge_oneshot.evaluation.reports.pages import verification_page
    from edge_oneshot.evaluation.verification import report
    from edge_oneshot.service.compose import build_pipeline

    config = find_config(ctx)
    pipeline = build_pipeline(config)
    pictures = find_pictures(images)
    pairs = all_pairs(pictures) if pairs_file == "all" else read_pairs(Path(pairs_file), pictures)
    pictures, pairs = only_used(pictures, pairs)
    embedded = encode(pictures, config, workers)
    comparator = pipeline.encoder.card.comparator
    result = report(embedded, pairs, comparator, pipeline.threshold)

    def page() -> str:
        return verification_page(result, embedded, pairs, score_pairs(embedded, pairs, comparator))

    tell(result, as_json, html_file, page, _verification)


@evaluate.command()
@click.option(
    "--gallery", required=True, type=click.IntRange(1), metavar="N", help="People enrolled, with one picture each."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which people and pictures.")
@click.option(
    "--target-fpir", required=True, type=click.FloatRange(1e-7, 0.5), metavar="P", help="The FPIR that is claimed."
)
@common
def identification(
    ctx: click.Context,
    images: Path,
    gallery: int,
    seed: int,
    target_fpir: float,
    workers: int,
    html_file: Path | None,
    as_json: bool,
) -> None:
    """Look for people in a gallery of N (1:N, open-set), at the threshold that the card gives for P and N."""
    from edge_oneshot.evaluation import identification as measure
    from edge_oneshot.evaluation.dataset import find_pictures
    from edge_oneshot.evaluation.reports.pages import identification_page
    from edge_oneshot.matching.threshold import Rule, Target

    config = find_config(ctx)
    comparator, rule = _card(config)
    follows = Rule(target=Target(fpir=target_fpir), thresholds=rule.thresholds, cohort=rule.cohort)
    embedded = encode(find_pictures(images), config, workers)
    trials = measure.draw(embedded, comparator, gallery, seed)
    result = measure.report(embedded, trials, follows([1] * gallery), target_fpir)
    sizes = sorted({n for n in (10, 30, 100, 300, 500, 1000) if n < gallery} | {gallery})

    def by_size() -> list[dict[str, Any]]:
        drawn = ((n, measure.draw(embedded, comparator, n, seed)) for n in sizes)
        return [measure.report(embedded, t, follows([1] * n), target_fpir) for n, t in drawn]

    tell(result, as_json, html_file, lambda: identification_page(result, embedded, trials, by_size()), _identification)


@evaluate.command()
@click.option(
    "--groups",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="CSV of `name,group` lines: also measure within each group, the worst first.",
)
@common
def calibration(
    ctx: click.Context, images: Path, groups: Path | None, workers: int, html_file: Path | None, as_json: bool
) -> None:
    """Hold the card's claims against people it has never seen: claimed and measured FMR and FPIR, with intervals."""
    from edge_oneshot.evaluation.claims import report
    from edge_oneshot.evaluation.dataset import find_pictures
    from edge_oneshot.evaluation.reports.pages import calibration_page

    config = find_config(ctx)
    comparator, rule = _card(config)
    members = None if groups is None else _read_groups(groups)
    result = report(encode(find_pictures(images), config, workers), comparator, rule, members)
    tell(result, as_json, html_file, lambda: calibration_page(result), _calibration)


@evaluate.command()
@common
def quality(ctx: click.Context, images: Path, workers: int, html_file: Path | None, as_json: bool) -> None:
    """Measure what each quality measure is worth as a gate: the error-versus-discard curve."""
    from edge_oneshot.config import QualityConfig
    from edge_oneshot.evaluation.dataset import find_pictures
    from edge_oneshot.evaluation.discard import report
    from edge_oneshot.evaluation.reports.pages import quality_page
    from edge_oneshot.service.compose import build_pipeline

    config = find_config(ctx)
    pipeline = build_pipeline(config)
    gates_open = QualityConfig(
        min_inter_eye_px=0, min_sharpness=0, min_luma=0, max_luma=255, min_contrast=0, max_yaw_deg=90, max_cropped=1
    )
    embedded = encode(find_pictures(images), replace(config, quality=gates_open), workers)
    result = report(embedded, pipeline.encoder.card.comparator, pipeline.threshold, config.quality)
    tell(result, as_json, html_file, lambda: quality_page(result), _quality)


@evaluate.command()
@click.option(
    "--visits",
    "visits_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="CSV with the header video,start_s,end_s,name: who is in sight when; no name for a stranger.",
)
@click.option(
    "--references",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Who is enrolled, from the first picture of DIR/Name/.",
)
@html_option
@json_option
@click.pass_context
def video(ctx: click.Context, visits_file: Path, references: Path, html_file: Path | None, as_json: bool) -> None:
    """Play videos of labelled visits: time to decision, matches, false matches an hour, unknown people, identity switches.

    Videos are files, or folders of pictures shown at camera.fps, relative to FILE.
    """
    from edge_oneshot.evaluation import visits as measure
    from edge_oneshot.evaluation.dataset import enroll_first
    from edge_oneshot.evaluation.reports.pages import video_page
    from edge_oneshot.service.compose import build_pipeline, build_tracker

    config = find_config(ctx)
    visits = measure.read_visits(visits_file)
    pipeline = build_pipeline(config)
    people, names = enroll_first(references, pipeline)
    pipeline.follow(people)
    measure.check(visits, names.values(), visits_file)
    watcher = measure.Watcher(build_tracker(config, pipeline, lambda: people), names)
    ends_s = {
        film: math.ceil(max(v.end_s for v in visits if v.video == film)) for film in sorted({v.video for v in visits})
    }
    measure.check_ends(
        visits, {film: measure.length_s(config.camera, visits_file.parent / film) for film in ends_s}, visits_file
    )
    with progress(sum(ends_s.values()), "seconds of video") as done:
        for film, end_s in ends_s.items():
            shown_s = 0
            for frame in measure.frames(config.camera, visits_file.parent / film):
                watcher.see(film, pipeline.observe(frame, people), frame.captured_ns)
                if shown_s < (now_s := min(end_s, int(watcher.at_s))):
                    done(now_s - shown_s)
                    shown_s = now_s
            watcher.end(film)
            done(end_s - shown_s)
    measure.check_ends(visits, watcher.lengths_s, visits_file)
    result = measure.report(visits, watcher.told, sum(watcher.lengths_s.values()), pipeline.threshold, len(names))
    tell(result, as_json, html_file, lambda: video_page(result, watcher.told), _video)


def _card(config: Config) -> tuple[Any, Any]:
    """(comparator, rule) of the configured encoder. Raises ModelError."""
    from edge_oneshot.service.compose import build_encoder, build_rule

    encoder = build_encoder(config)
    return encoder.card.comparator, build_rule(config, encoder)


def _read_groups(path: Path) -> dict[str, str]:
    """Raises EdgeOneshotError for a line that is not `name,group`."""
    import csv

    from edge_oneshot.errors import EdgeOneshotError

    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if row and len(row) != 2:
                raise EdgeOneshotError(
                    f"{path} line {number}: expected `name,group`, got {','.join(row)!r}", "mend the line"
                )
            if row:
                found[row[0]] = row[1]
    return found


def _verification(r: dict[str, Any]) -> None:
    click.echo(
        f"{r['pairs']} pairs ({r['mated_pairs']} mated, {r['non_mated_pairs']} non-mated) of {r['identities']} identities, "
        f"{r['images']} pictures"
    )
    click.echo(
        f"accuracy {100 * r['accuracy']:.2f} % (std {100 * r['accuracy_std']:.2f} over {r['folds']} folds)   EER {100 * r['eer']:.2f} %"
    )
    for fmr, tar in r["tar_at_fmr"].items():
        if tar is None:
            click.echo(f"FMR {fmr}: too few non-mated pairs to resolve it")
            continue
        low, high = r["tar_ci95"][fmr]
        click.echo(
            f"FMR {fmr}: TAR {100 * tar:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f}), mean over identities "
            f"{100 * r['balanced_tar_at_fmr'][fmr]:.2f} %, at score {r['threshold_at_fmr'][fmr]:.3f}"
        )
    low, high = r["failure_to_acquire_ci95"]
    click.echo(
        f"failures to acquire: {r['failures_to_acquire']} of {r['images']} ({100 * low:.2f} to {100 * high:.2f} %)"
    )
    at = r["at_threshold"]
    click.echo(f"at your threshold {r['threshold']:.3f}: TAR {at['tar']}, FMR {at['fmr']}")


def _identification(r: dict[str, Any]) -> None:
    click.echo(
        f"{r['gallery']} people enrolled with one picture each; {r['mated_probes']} mated probes of {r['mated_identities']} people, "
        f"{r['non_mated_probes']} non-mated probes of {r['non_mated_identities']} others; {r['failures_to_acquire']} not acquired"
    )
    beyond = ", beyond what the card has measured" if r["threshold_extrapolated"] else ""
    click.echo(
        f"threshold {r['threshold']:.4f}, from the card for FPIR {r['claimed_fpir']:g} and {r['gallery']} people{beyond}"
    )
    for name, key in (("FPIR", "fpir"), ("FNIR", "fnir")):
        low, high = r["ci95"][key]
        click.echo(
            f"{name} none to measure"
            if r[key] is None
            else f"{name} {100 * r[key]:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f}, over people)"
        )
    if r["rank1"] is not None:
        click.echo(f"rank 1: {100 * r['rank1']:.2f} %")


def _calibration(r: dict[str, Any]) -> None:
    click.echo(
        f"{r['identities']} people, {r['pictures']} pictures, {r['failures_to_acquire']} not acquired; thresholds: {r['protocol']}"
    )
    for c in r["claims"]:
        what = "FMR       " if c["kind"] == "fmr" else f"FPIR({c['identities']:>4})"
        beyond = " (extrapolated)" if c["extrapolated"] else ""
        click.echo(
            f"{what} claimed {c['claimed']:<8g} measured {c['measured']:<9g} 95 % {c['ci95'][0]:g} to {c['ci95'][1]:g}  "
            f"threshold {c['threshold']:.4f}{beyond}: {c['agreement']}"
        )
    for g in r.get("groups", ()):
        click.echo(
            f"within {g['group']} ({g['identities']} people): "
            + ", ".join(f"FMR at {f}: {v:g}" for f, v in g["fmr"].items())
        )


def _quality(r: dict[str, Any]) -> None:
    g = r["gates"]
    click.echo(
        f"{r['mated_pairs']} mated pairs of {r['identities']} people; FNMR at the threshold {r['threshold']:.3f}"
    )
    click.echo(
        f"the gates refuse {g['refused']} of {g['of']} pictures: FNMR {g['fnmr_open']} becomes {g['fnmr_gated']}"
    )
    for name, curve in r["curves"].items():
        click.echo(f"{name:14}" + "  ".join(f"{100 * p['discarded']:.0f} %: {p['fnmr']}" for p in curve))


def _video(r: dict[str, Any]) -> None:
    click.echo(
        f"{r['visits']} visits ({r['enrolled_visits']} by enrolled people, {r['stranger_visits']} by strangers) in "
        f"{r['hours']:.2f} h, {r['gallery']} people enrolled, threshold {r['threshold']:.4f}"
    )
    for what, key in (("strangers told as somebody", "fpir_per_visit"), ("enrolled people not told", "fnir_per_visit")):
        s = r[key]
        if s["of"]:
            low, high = s["ci95"]
            click.echo(
                f"{what}: {s['count']} of {s['of']} visits of {s['people']} people, {100 * s['rate']:.2f} % "
                f"(95 % interval {100 * low:.2f} to {100 * high:.2f})"
            )
    claimed = "" if r["claimed_false_matches"] is None else f" ({r['claimed_false_matches']:g} claimed)"
    click.echo(
        f"match events {r['match_events']}, of them false {r['false_match_events']}{claimed}, "
        f"{r['false_match_events_per_hour']} an hour"
    )
    click.echo(
        f"unknown events {r['unknown_events']}, of them false {r['false_unknown_events']}; rejected {r['rejected_events']}; "
        f"identity switches {r['identity_switches']}"
    )
    if r["seconds_to_match"]:
        seconds, frames = r["seconds_to_match"], r["compared_frames_to_match"]
        click.echo(
            f"to a match: {seconds['median']:.1f} s and {frames['median']:.0f} compared frames in the median, "
            f"{seconds['p90']:.1f} s and {frames['p90']:.0f} at 90 %"
        )
    for f in r["false_matches"]:
        click.echo(f"  false: {f['told']} in {f['video']} at {f['at_s']:.1f} s")
