# ruff: noqa: E501
"""Every fault that a test has been asked to see, planted one by one into a copy: which stay green?

    python tests/mutations.py            all of them, minutes each where the tests that should see it are slow
    python tests/mutations.py schedule   those whose file or description has the word

A mutation is a file, what stands there once, what is put in its place, and the tests that must turn red. Faults that are
settings of a run (noise left out, a wrong rate, no annealing) are `PLANTED` in test_verify.py.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Mutation(NamedTuple):
    """A fault."""

    file: str  # below lrtheory/
    old: str
    new: str
    tests: str  # below tests/, as pytest takes them
    fault: str


MUTATIONS = [
    Mutation("noise.py", "drift = jnp.where(decays, -jnp.expm1(all_) / safe, count * rate)", "drift = count * rate",
             "test_noise.py", "K micro-steps forget that the gradient's part decays, too"),
    Mutation("noise.py", "jnp.sqrt(-jnp.expm1(2 * log_decay(rate, weight_decay))) / rate",
             "jnp.sqrt(2 * jnp.asarray(weight_decay) / rate)", "test_noise.py", "balanced noise to first order only"),
    Mutation("noise.py", "jnp.log1p(-jnp.asarray(rate) * weight_decay)", "jnp.log(1 - jnp.asarray(rate) * weight_decay)",
             "test_noise.py", "1 - eta lambda is rounded to 1"),
    Mutation("update.py", "noise.micro_steps(", "noise.micro_steps(2 * ", "test_noise.py", "noisy_sgd at twice its rate"),
    Mutation("stages.py", "now = stage + jnp.sum(over)", "now = jnp.sum(over)", "test_schedule.py",
             "annealed, then not annealed"),
    Mutation("stages.py", "jnp.minimum(second[0], first[0] + second[1])", "second[0]", "test_stages.py",
             "a stage's own duration is not counted from where the one before ended"),
    Mutation("stages.py", "(clock - state.entered) / jnp.where(real", "clock / jnp.where(real", "test_stages.py",
             "a shape begins at clock 0, not where its stage does"),
    Mutation("stages.py", "x = x - self.lost", "x = x + 0 * self.lost", "test_stages.py::test_the_clock_of_noisy_sgd_does_not_stand_still",
             "small rates do not move the clock"),
    Mutation("stages.py", "& (index < self.last)", "", "test_stages.py", "what fills a stack up is entered"),
    Mutation("noise.py", "jnp.maximum(step_time - jnp.asarray(first), 0.0) / 2", "0.0 * jnp.asarray(first)", "test_stages.py",
             "K micro-steps have the rate of the first one"),
    Mutation("noise.py", "steps = jnp.where(decays & moves,", "steps = jnp.where(decays,", "test_stages.py",
             "a rate of 0 gives nan"),
    Mutation("schedule.py", "require(count == ends + 1 > 0", "require(count > 0", "test_stages.py",
             "boundaries that are too few are taken"),
    Mutation("theory/simulate.py", "injected * config.training.noise_unit", "config.training.tau_xi + 0 * injected",
             "test_own_algorithms.py", "injected noise of one's own does not act"),
    Mutation("theory/simulate.py", "first = jnp.min(jnp.where(ends > run.time.value, ends, jnp.inf))", "first = jnp.inf",
             "test_own_algorithms.py test_optimal.py", "a leap passes the end of a stage"),
    Mutation("theory/simulate.py", "stride=jax.lax.stop_gradient(stride)", "stride=stride", "test_optimal.py",
             "lengths of leaps are differentiated"),
    Mutation("optimal/families.py", "\"cosine\": 1 / jnp.sqrt(s * e)", "\"cosine\": 2 / (s + e)", "test_optimal.py",
             "iterations of a cosine by its mean rate"),
    Mutation("theory/programs.py", "\"training.activation_noise_form\": config.noise_form", "\"records\": 1", "test_results.py",
             "own activation noise that does not act"),
    Mutation("stages.py", "weight = -jnp.expm1(-elapsed)", "weight = jnp.minimum(elapsed, 1.0)", "test_schedule.py",
             "the running mean depends on the steps"),
    Mutation("stages.py", "over = (clock >= ends)", "over = (clock > ends)", "test_schedule.py",
             "a stage lasts one step too long"),
    Mutation("schedule.py", "state.count / steps_per_clock", "state.count", "test_schedule.py", "steps taken for epochs"),
    Mutation("fields.py", "if kept.get(name) != asked.get(name)", "if False", "test_store.py", "another sweep is resumed"),
    Mutation("files.py", "any(p.name != LOCK for p in folder.iterdir())", "False", "test_results.py",
             "a folder that is not empty is written into"),
    Mutation("labelled.py", "runs.isel(seed=np.isinf(runs[\"diverged_at\"].values))", "runs", "test_results.py",
             "diverged seeds enter means"),
    Mutation("labelled.py", "/ math.sqrt(values.size)) if", ") if", "test_results.py", "a deviation for a standard error"),
    Mutation("theory/problem.py", "direction = jnp.where(y2 > 0, 0,", "direction = jnp.where(y2 < 0, 0,", "test_problem.py",
             "Q's classes exchanged"),
    Mutation("theory/problem.py", "+ problem.gamma0 / scale)", ")", "test_problem.py", "P without its margin"),
    Mutation("theory/problem.py", "jnp.array([0.5, 0.25, 0.25])", "jnp.array([0.25, 0.25, 0.5])", "test_problem.py",
             "Q's directions weighed wrongly"),
    Mutation("theory/measure.py", "jax.nn.sigmoid(-data.y * f) / f.shape[0]", "jax.nn.sigmoid(-data.y * f)",
             "test_engines.py test_simulate.py", "the gradient of the sum, not of the mean"),
    Mutation("theory/measure.py", "(~(m > 0)).astype(m.dtype)", "(m < 0).astype(m.dtype)",
             "test_groups.py test_results.py test_simulate.py test_infinite.py", "an output of 0 is right"),
    Mutation("theory/engines/decoupled.py", "pre = matmul(x, state.noise[half])",
             "pre = matmul(x, state.noise[half] + state.signal[half])", "test_engines.py", "gates of the whole network"),
    Mutation("theory/engines/base.py", "move.shrink * u - move.drift * g", "-move.drift * g",
             "test_engines.py test_simulate.py", "no weight decay on the signal part"),
    Mutation("theory/engines/base.py", "move.shrink * u - move.kick * tau * xi", "move.shrink * u - move.kick * xi",
             "test_engines.py test_simulate.py", "injected noise without tau0"),
    Mutation("theory/engines/infinite.py", "weight = 1 + 2 / count", "weight = 1.0", "test_infinite.py",
             "a leap is extrapolated to another sum"),
    Mutation("theory/engines/infinite.py", "source = _stiff(source_of(config, inputs, slope(examples(config, inputs, f1, g))), modes - base, response)",
             "source = start", "test_infinite.py", "the leap's end is its start"),
    Mutation("theory/engines/memory.py", "4 * d1 - (1 - r**2) * d2) * rho_s", "4 * d1 - d2) * rho_s", "test_infinite.py",
             "r^2 is dropped where it counts"),
    Mutation("theory/kernel.py", "0.25 + np.arctan2", "0.25 + 0.99 * np.arctan2", "test_kernel.py", "a kernel of 1% less"),
    Mutation("theory/kernel.py", "0.5 * jnp.log1p((move.kick", "jnp.log1p((move.kick", "test_kernel.py test_infinite.py",
             "a clock twice as fast"),
    Mutation("theory/simulate.py", "jnp.where(going & (eta > 0), count, 0.0)", "count", "test_simulate.py", "a stopped run's clock goes on"),
    Mutation("theory/simulate.py", "jax.random.fold_in(setting.noise_key, index)", "setting.noise_key", "test_simulate.py",
             "the same noise at every step"),
    Mutation("theory/simulate.py", "HALVED = math.log(2) / 2", "HALVED = math.log(2)", "test_simulate.py",
             "halved at once"),
    Mutation("theory/training.py", "eta2 = self.eta1 * jnp.asarray(self.eta_ratio)", "eta2 = jnp.asarray(self.eta1)",
             "test_simulate.py test_config.py", "S with the large rate"),
    Mutation("theory/programs.py", "\"name\": \"\", ", "", "test_programs.py", "a new name compiles anew"),
    Mutation("theory/programs.py", "\"training.steps\": 1, ", "\"training.steps\": 1, \"problem.groups\": \"exact\", ",
             "test_simulate.py::test_iid_groups_run test_problem.py test_programs.py",
             "two programs that differ are taken for one"),
    Mutation("theory/programs.py", "values[:points, :, : len(seeds)] for name, values in records.items()",
             "values[:points, :, -len(seeds):] for name, values in records.items()", "test_simulate.py",
             "what fills up a block is taken for results"),
    Mutation("theory/results.py", "- required * ends[other][0]", "- ends[other][0]", "test_results.py",
             "the ratio that is asked for is not asked for"),
    Mutation("theory/results.py", "if max(middle) <= 2 * min(middle) else None", "", "test_results.py",
             "algorithms followed for different times are compared"),
    Mutation("theory/results.py", "return runs.isel(seed=known[0] & known[1])", "return runs", "test_results.py",
             "an order without examples of a group"),
    Mutation("theory/timescales.py", "network.widths[-1], network.scales[-1]", "network.m_v, network.tau_v", "test_config.py",
             "kinks of a shared matrix by numbers it has not"),
    Mutation("predictions/verify.py", "seed=~np.isin(r[\"seed\"].values, sorted(bad))", "seed=slice(None)", "test_verify.py",
             "diverged seeds enter the statistics"),
    Mutation("sweeps/plan.py", "_even(grid.config.seeds, runs // points)", "runs // points", "test_sweep.py",
             "chunks larger than there are seeds"),
    Mutation("sweeps/store.py", "return f\"{len(lost)} files are missing\"", "return None", "test_store.py",
             "a chunk without its files counts"),
    Mutation("sweeps/tables.py", "return values.where(good)", "return values", "test_tables.py", "diverged runs enter tables"),
    Mutation("intervals.py", "if above and below:", "if above or below:", "test_intervals.py", "half inside holds"),
    Mutation("intervals.py", "above = low > 0 if first == 0", "above = low >= 0 if first == 0", "test_intervals.py",
             "an interval that contains 0 is above 0"),
    Mutation("intervals.py", "wider = 1 - (1 - level) / max(len(statistics), 1)", "wider = level", "test_intervals.py",
             "what fails is not corrected over a claim's statistics"),
    Mutation("intervals.py", "(centre - value) / spread", "(centre - value) / error", "test_intervals.py",
             "draws are not studentised"),
    Mutation("theory/timescales.py", "math.log1p(decay * problem.r**2 / grows) / decay", "problem.r**2 / grows",
             "test_config.py", "the blur linearised"),
    Mutation("vision/patches.py", "minval=-1.0", "minval=0.0", "test_vision.py", "offsets of one sign"),
    Mutation("vision/models.py", "x.shape[1:3])[None, ..., None]", "x.shape[:3])[..., None]", "test_vision.py",
             "activation noise of each image"),
    Mutation("vision/models.py", "* (n / (n - 1)))", ")", "test_vision.py test_pytorch.py", "the running variance is biased"),
    Mutation("vision/models.py", "kernel_init=fan_in, ", "", "test_vision.py", "the linear layer starts 1.7 times as large"),
    Mutation("vision/models.py", "return None if jnp.dtype(dtype) == jnp.bfloat16 else jax.lax.Precision.HIGHEST",
             "return None", "test_vision.py", "float32 is TF32 on a GPU"),
    Mutation("vision/simulate.py", "each[whole:]", "each[whole:whole]", "test_patched_training.py",
             "an epoch leaves out the last images"),
    Mutation("vision/patches.py", "classes, sample_flags(law, for_flags, len(classes)))", "classes, jnp.ones(len(classes), bool))",
             "test_vision.py", "all images measured as drawn carry the patch"),
    Mutation("vision/patches.py", "bernoulli(key, 1 - law.negative, (n,))", "bernoulli(key, 0.5, (n,))",
             "test_vision.py::test_of_a_linear_patch_the_class_mean_tells_and_of_the_published_one_nothing",
             "the linear patch has both signs"),
    Mutation("vision/cifar.py", "PUBLISHED.get(name, checksum) != checksum", "False",
             "test_cifar.py::test_what_is_not_as_published_is_said", "images that are not the published ones pass for them"),
    Mutation("vision/runs.py", "if training.begun:", "if True:",
             "test_patched_training.py::test_the_devices_that_worked_are_counted", "idle devices are counted"),
    Mutation("vision/checkpoints.py", "_completed(found) != tree", "found != tree",
             "test_patched_resuming.py::test_checkpoints_of_an_earlier_version_are_gone_on_with", "a new field orphans checkpoints"),
    Mutation("sweeps/grid.py", "return Grid(other.config, axes, self.images)",
             "return Grid(self.config.replace(seeds=other.config.seeds), axes, self.images)",
             "test_store.py::test_a_finished_sweep_is_made_larger_and_only_what_is_new_is_computed", "another sweep is extended"),
    Mutation("sweeps/plan.py", "range(kept[k].stop, chunk.box[k].stop)", "chunk.box[k]",
             "test_store.py::test_a_chunk_that_grows_keeps_its_corner", "an extension computes again what is there"),
    Mutation("sweeps/trainings.py", "grid, images=cifar.fingerprint(images))", "grid, images=\"\")",
             "test_trainings.py::test_other_images_another_sweep_and_a_damaged_chunk_are_seen", "trainings go on with other images"),
    Mutation("sweeps/tables.py", "times = at[..., 0] - 1 +", "times = at[..., 0] +",
             "test_trainings.py::test_when_the_patch_is_read_is_told_between_epochs", "the patch is read an epoch late"),
    Mutation("sweeps/reading.py", "other and large[j] > large[i]", "other and large[j] >= 0",
             "test_trainings.py::test_blindness_to_what_is_not_linear_is_told_from_mere_difficulty", "blindness wherever one looks"),
    Mutation("vision/runs.py", "min(left, key=lambda training: training.epoch)", "left[0]", "test_patched_resuming.py",
             "runs of a seed do not advance together"),
    Mutation("vision/runs.py", " + SAVING * len(trainings) > until", " > until", "test_patched_resuming.py",
             "no time is left for checkpoints"),
    Mutation("vision/results.py", "return int(results[\"epochs_done\"].min()) - 1", "return results.sizes[\"record\"] - 1",
             "test_patched_results.py", "judged at an epoch that not every run has"),
    Mutation("files.py", "partial.rename(whole)  # from here on it is what is read\n    _replace(path, whole)",
             "_replace(path, partial)", "test_damage.py", "a store that is half removed is read"),
    Mutation("vision/config.py", "[float(e - 1) for e in self.anneal_epochs]", "[float(e) for e in self.anneal_epochs]",
             "test_patched_training.py", "annealed an epoch late"),
    Mutation("vision/simulate.py", "nesterov=True", "nesterov=False", "test_patched_training.py", "plain momentum"),
    Mutation("vision/programs.py", "\"training.epochs\": 1, ", "", "test_patched_training.py", "a new length compiles anew"),
    Mutation("vision/checkpoints.py", "if found is not None and _completed(found) != tree:", "if False:",
             "test_patched_resuming.py::test_checkpoints_know_which_question_they_answer",
             "another experiment's checkpoints are gone on from"),
    Mutation("vision/checkpoints.py", "if read_sealed(self._seal(epoch)) == self._contents(epoch):", "if True:",
             "test_patched_resuming.py::test_every_damage_to_a_checkpoint_is_found_without_a_page", "sealed: no checkpoint is"),
    Mutation("vision/cifar.py", "member.size < 0 or (member.size > _NAME", "member.size < 0 or (member.size > 2**40",
             "test_cifar.py::test_sizes_that_archives_claim_are_not_believed", "a name of any length is read"),
    Mutation("files.py", "    must_be_same(store, seal[\"files\"])\n", "", "test_damage.py::test_every_damage_to_a_run_is_found",
             "sealed: a run's files are not looked at"),
    Mutation("files.py", "if seal.pop(\"digest\") != digest(root):", "if seal.pop(\"digest\") is None:",
             "test_damage.py::test_attributes_of_a_run_that_were_changed_are_not_believed", "sealed: a run's attributes are not looked at"),
    Mutation("files.py", "tree.pop(\"digest\", None) != digest(tree)", "tree.pop(\"digest\", None) is None",
             "test_damage.py::test_a_manifest_that_was_changed_is_not_believed", "sealed: a changed manifest is believed"),
    Mutation("files.py", ".open(\"x\")", ".open(\"w\")", "test_terminal.py::test_runs_that_start_together_have_folders_of_their_own",
             "two processes have one folder"),
    Mutation("files.py", "re.sub(r\"[^\\w+.-]+\", \"-\", name)", "name", "test_terminal.py::test_no_name_leaves_the_folder_of_runs",
             "a name writes outside runs/"),
    Mutation("sweeps/store.py", "if seal != asked:", "if False:",
             "test_damage.py::test_every_damage_to_a_sweep_is_found", "sealed: chunks are not looked at"),
    Mutation("sweeps/store.py", "hexdigest() != known", "hexdigest() == ''", "test_damage.py::test_damage_after_loading_is_found_when_the_numbers_are_read",
             "what changed between load and reading is believed"),
    Mutation("sweeps/store.py", "if seal[\"sweep\"] != self.identity:", "if False:",
             "test_damage.py::test_a_manifest_with_a_digest_of_its_own_is_not_believed_either", "sealed: labels of another sweep"),
    Mutation("fields.py", "if len(tree) < len(pairs):", "if False:",
             "test_config.py::test_bad_config_files_are_refused_in_one_line", "of a doubled key one wins"),
    Mutation("fields.py", "value = value.item()", "pass", "test_config.py::test_values_of_other_libraries_become_pythons_own",
             "a number of NumPy stays one"),
    Mutation("keys.py", ", impl=IMPLEMENTATION", "", "test_terminal.py::test_keys_do_not_depend_on_the_default_implementation",
             "keys of the user's implementation"),
    Mutation("stages.py", "counts = jnp.isfinite(loss)", "counts = jnp.isfinite(clock)", "test_schedule.py",
             "a loss that is no number disables the trigger"),
    Mutation("stages.py", "entered, mean_loss, loss = (jnp.zeros_like(never) for _ in range(3))",
             "entered = mean_loss = loss = jnp.zeros_like(never)", "test_schedule.py", "two leaves are one buffer"),
    Mutation("theory/programs.py", "if needed > share * free:", "if False:",
             "test_terminal.py::test_sizes_are_refused_before_anything_is_allocated", "sizes are not estimated"),
    Mutation("sweeps/figures.py", " if panels != \"algorithm\" else [value]", "",
             "test_drawing.py::test_panels_of_algorithms_have_a_line_each_and_it_is_theirs", "every name in every panel"),
    Mutation("style.py", "matplotlib.rcdefaults()", "pass",
             "test_terminal.py::test_figures_are_drawn_under_settings_of_our_own", "the user's LaTeX draws"),
    Mutation("theory/figures/curves.py", "theory = None if theory is None else theory.isel(record=slice(1, None))", "pass",
             "test_results.py::test_a_prediction_that_diverged_enters_no_mean", "the convention at time 0 is drawn as a prediction"),
    Mutation("sweeps/prediction.py", "if here != there:", "if False:", "test_drawing.py::test_a_theory_of_something_else_is_refused_in_one_line",
             "a prediction of another problem is drawn over a sweep"),
    Mutation("sweeps/prediction.py", "[int(place[0]) for place in places]", "[0 for place in places]",
             "test_drawing.py::test_a_sweep_at_infinite_width_lies_dashed_over_its_sweep", "each panel has the prediction of the first"),
    Mutation("sweeps/figures.py", "else place[[0, -1]]", "else place[[0]]", "test_drawing.py::test_the_limit_is_level_over_the_number_of_neurons",
             "the limit has no length"),
    Mutation("cli/completion.py", "    if hint is str:\n        return choice\n", "", "test_cli.py::test_bash_completes_commands_options_and_choices",
             "options of several words offer none"),
    Mutation("cli/completion.py", 're.sub(r"\\\\+n", " ", spec[0])', "spec[0]", "test_cli.py::test_bash_completes_commands_options_and_choices",
             "the second line of a description is offered as a word"),
    Mutation("cli/arguments.py", "; of a sweep, too: {', '.join(DERIVED)}", "", "test_cli.py::test_help_of_plot_lists_measurements_and_figures",
             "what only sweeps measure is not listed"),
    Mutation("theory/presets.py", "gamma0=0.1),", "gamma0=0.11),", "test_docs.py::test_stored_results_are_of_what_their_commands_run_today",
             "a preset is changed, the printed results are of the old one"),
    Mutation("predictions/words.py", "{row['value']:.3g} [", "{row['value']:.2g} [", "test_docs.py::test_pages_made_from_code_and_stored_results_are_those_of_today",
             "a table of results is not that of its stored file"),
    Mutation("cli/terminal.py", "except (OSError, ValueError):  # nobody", "except ZeroDivisionError:  # nobody",
             "test_terminal.py::test_a_reader_that_goes_away_ends_no_run", "a closed pipe ends a run"),
    Mutation("cli/terminal.py", "markup=False, ", "", "test_terminal.py::test_text_of_users_is_printed_as_it_is",
             "text of users is markup"),
    Mutation("spec.py", "super().__init__(in_python(self.in_shell))", "super().__init__(self.in_shell)", "test_library.py",
             "Python is told of options"),
    Mutation("spec.py", "object.__setattr__(self, name, value.item())", "pass", "test_library.py",
             "sizes of NumPy and JAX stay what they are"),
    Mutation("devices.py", "return said not in (-1, None) or ", "return ", "test_library.py",
             "a number of devices that JAX was told is overruled"),
    Mutation("progress.py", "or not (terminal() or notebook())", "or False", "test_library.py", "a bar in a pipe"),
    Mutation("theory/html.py", "<p><b>{escape(summary['name'])}</b>", "<p><b>{summary['name']}</b>", "test_library.py",
             "a name is taken for HTML"),
    Mutation("theory/problem.py", "1 / (1 + 2 * self.alpha_power)", "one**2", "test_problem.py", "E[alpha^2] is E[alpha]^2"),
    Mutation("theory/problem.py", " - tail**2)", ")", "test_problem.py", "heavier tails are wider, too"),
    Mutation("theory/weights.py", "gate = ~((of_noise if decoupled else of_signal + of_noise) < 0)",
             "gate = ~(of_signal + of_noise < 0)", "test_neurons.py", "decoupled gates from the signal, too"),
    Mutation("theory/weights.py", "if self.moments and (self.only_last or self.moments[-1][0] == step):",
             "if self.moments and self.only_last:", "test_neurons.py", "the start is kept twice"),
    Mutation("custom/simulate.py", "jnp.where(going, new, old), moved, run)", "new, moved, run)", "test_train.py",
             "a diverged run goes on"),
    Mutation("custom/simulate.py", "(move.kick * tau * xi)", "(move.kick * xi)", "test_train.py",
             "noise of one size for all arrays"),
    Mutation("custom/simulate.py", "jax.random.fold_in(setting.noise_key, index), 3)",
             "jax.random.fold_in(setting.noise_key, index + 1), 3)", "test_train.py", "other draws than those of lt.run"),
    Mutation("custom/simulate.py", "s.update(state, clock, loss)", "s.update(state, clock, jnp.inf)", "test_train.py",
             "no trigger acts"),
    Mutation("custom/runs.py", "missing = [seed for seed in seeds if seed not in kept]", "missing = seeds", "test_train.py",
             "seeds that are kept are computed again"),
    Mutation("custom/programs.py", "str(closed.jaxpr))", "str(len(closed.jaxpr.invars)))", "test_train.py",
             "another model's runs are taken for this one's"),
    Mutation("custom/models.py", "_params_alone(set(found) - {\"params\"})", "pass", "test_train.py",
             "running statistics that never run"),
    Mutation("theory/engines/infinite.py", "jnp.where(response[0, 0] > STIFF, exact, total)", "total",
             "test_theorem.py::test_at_any_d_nothing_diverges_and_s_is_at_its_limit", "a stiff mode's residual is a sum over examples"),
    Mutation("theory/kinks.py", "math.sqrt(neurons / (2 * math.pi))", "math.sqrt(neurons / math.pi)",
             "test_kinks.py::test_full_networks_follow_their_own_limit_and_not_that_of_fixed_kinks", "a higher ceiling"),
    Mutation("theory/kinks.py", "- delta * size * jax", "- 0.0 * size * jax",
             "test_kinks.py::test_what_moved_kinks_reach_is_what_neurons_say_one_by_one", "kinks that leave, without end"),
    Mutation("theory/kinks.py", "return -8 / 3 *", "return -2 *",
             "test_kinks.py::test_plateau_and_scatter_are_those_of_the_limit_and_of_networks", "a plateau of order 1 alone"),
    Mutation("theory/kinks.py", "(3 - left)", "(2 - left)",
             "test_kinks.py::test_scatter_falls_with_the_width_and_with_what_is_averaged", "what averaging leaves"),
    Mutation("theory/engines/infinite.py", "fall = fall.at[:, 1].multiply(", "_ = (",
             "test_infinite.py::test_leaps_approach_the_literal_iterations[block-0.0-moving]", "Newton at fixed kinks"),
    Mutation("theory/results.py", "rho / 2 * kinks.scatter", "rho * kinks.scatter",
             "test_kinks.py::test_annealing_jitters_as_the_root_of_the_width_says", "the loss scatters twice as much"),
    Mutation("theory/config.py", "training.tolerance or Training().tolerance) if whole else 0.0", "training.tolerance)",
             "test_infinite.py::test_minibatches_are_predicted_on_the_same_batches", "batches in steps of the engine's own"),
    Mutation("theory/config.py", "require(stiffness <= most", "require(True",
             "test_theorem.py::test_single_precision_is_refused_where_it_holds_no_such_numbers", "Q's outputs are rounding"),
    Mutation("theory/theorem.py", "weight_decay=d**-1.25 * b", "weight_decay=d**-1.25",
             "test_theorem.py::test_numbers_in_the_paper_s_unit", "lambda in the paper's unit, all else in ours"),
    Mutation("theory/theorem.py", "z_norm=math.sqrt(b)", "z_norm=b", "test_theorem.py::test_numbers_in_the_paper_s_unit",
             "|z|^2 multiplied by b^2"),
    Mutation("theory/linear_readout.py", "4 * t**3 * w", "w", "test_theorem.py::test_closed_forms_are_the_errors_on_test_points",
             "alpha of another law"),
    Mutation("theory/linear_readout.py", "special.ndtr(-margin", "special.ndtr(-2 * margin",
             "test_theorem.py::test_closed_forms_are_the_errors_on_test_points", "errors of a wider margin"),
    Mutation("theory/examples.py", "/ config.problem.n_train", "/ jnp.sum(known, -1, keepdims=True)",
             "test_theorem.py::test_at_any_d_nothing_diverges_and_s_is_at_its_limit", "P alone on a clock of its own"),
    Mutation("theory/examples.py", "(first + guess) / 2", "guess", "test_theorem.py::test_a_learning_curve_ends_where_the_engine_does",
             "Heun's method with the end's slope alone"),
    Mutation("theory/examples.py", "np.interp(-np.log(max(errors.mean(), 1e-9)), -falling,", "np.interp(np.log(max(errors.mean(), 1e-9)), falling,",
             "test_theorem.py::test_the_number_of_examples_is_recovered", "a falling curve read as a rising one"),
    Mutation("predictions/regime.py", "np.where(np.isfinite(one[\"stopped_at\"].values), values, np.nan)", "values",
             "test_theorem.py::test_runs_that_were_cut_decide_nothing", "runs that were cut are judged"),
    Mutation("theory/training.py", "return self.balanced if self.noise_scale is None else jnp.asarray(self.noise_scale)", "return self.balanced",
             "test_simulate.py::test_noise_that_is_asked_for_as_a_number_needs_no_decay", "noise_scale does nothing"),
    Mutation("theory/timescales.py", "else scale**2)", "else scale)", "test_config.py::test_blur_time_without_balance_is_that_of_the_noise_itself",
             "blur_time takes noise_scale for its square"),
]


def stays_green(mutation: Mutation, copy: Path) -> bool:
    """Plant a fault into the copy, run its tests, and put back what was there."""
    file = copy / "lrtheory" / mutation.file
    text = file.read_text()
    assert text.count(mutation.old) >= 1, f"{mutation.file}: {mutation.old!r} is not there any more"
    file.write_text(text.replace(mutation.old, mutation.new, 1))
    tests = [str(copy / "tests" / name) for name in mutation.tests.split()]
    try:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow",
                               *tests], cwd=copy,
                              capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(copy)})
    finally:
        file.write_text(text)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode == 0


def main(words: list[str]) -> int:
    """Plant those whose file or fault has all the words; 1 if one stays green."""
    chosen = [m for m in MUTATIONS if all(w in f"{m.file} {m.fault}" for w in words)]
    green = []
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "lrtheory"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "build", "runs", "__pycache__"))
        for mutation in chosen:
            since = time.perf_counter()
            if stays_green(mutation, copy):
                green.append(mutation)
            seen = "STAYS GREEN" if mutation in green else "red"
            print(f"{seen:12} {mutation.file}: {mutation.fault} ({time.perf_counter() - since:.0f} s)", flush=True)
    print(f"{len(chosen) - len(green)} of {len(chosen)} faults are seen")
    return 1 if green else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
