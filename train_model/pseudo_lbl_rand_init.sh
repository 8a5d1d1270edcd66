#!/usr/bin/env bash
# Trains the baseline, then jointly on labelled and unlabelled volumes, and compares the two.
#
#   bash pseudo_lbl_rand_init.sh [no_of_tr_imgs] [comb_tr_imgs] [dataset] [further flags]
#   bash pseudo_lbl_rand_init.sh tr2 c1 acdc
#   bash pseudo_lbl_rand_init.sh tr1 c1 phantom --n_iter=200 --seed=1
#   bash pseudo_lbl_rand_init.sh tr1 c1 acdc --method=unimatch
#
# --method=contrastive (default): pixel embeddings on pseudo-labels, which are refreshed in rounds. --method=unimatch
# (weak-to-strong consistency) and --method=copy_paste make their targets within each step and have no rounds.
#
# Further flags, written --name=value, go to both scripts; those that only joint training has (--lamda_local,
# --refresh_every, --crf, ...) go to it alone. --n_iter sets the steps of both, --baseline_n_iter and --joint_n_iter of
# one (default: 5001 and 15001, as published). --hours=4 gives the baseline one hour and joint training three: each
# measures its first steps here and keeps the number of steps that follows. With --teacher=RUN that run replaces the baseline.
# Stops at the first stage that fails; the same command resumes there.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/chain.sh"

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  show_help
  exit 0
fi

no_of_tr_imgs=tr2 comb_tr_imgs=c1 dataset=acdc
if [[ $# -gt 0 && "$1" != -* ]]; then no_of_tr_imgs=$1; shift; fi
if [[ $# -gt 0 && "$1" != -* ]]; then comb_tr_imgs=$1; shift; fi
if [[ $# -gt 0 && "$1" != -* ]]; then dataset=$1; shift; fi
if [[ "$dataset" =~ ^c[0-9]+$ ]]; then
  echo "ERROR: here the dataset comes third: bash pseudo_lbl_rand_init.sh $comb_tr_imgs $dataset $no_of_tr_imgs" >&2
  exit 1
fi

n_iter='' baseline_n_iter='' joint_n_iter='' teacher=''
both=() joint=() places=()
for argument in "$@"; do
  case "$argument" in
    --n_iter=*) n_iter=${argument#*=} ;;
    --hours=*) hours=${argument#*=}; hours=${hours:-0} ;;
    --baseline_n_iter=*) baseline_n_iter=${argument#*=} ;;
    --joint_n_iter=*) joint_n_iter=${argument#*=} ;;
    --runs_dir=* | --data_root=*)
      argument=${argument%%=*}=$(absolute "${argument#*=}"); places+=("$argument"); both+=("$argument") ;;
    --init_from=none) joint+=("$argument") ;;
    --init_from=*) joint+=("${argument%%=*}=$(absolute "${argument#*=}")") ;;
    --teacher=*) teacher=$(absolute "${argument#*=}"); joint+=("--teacher=$teacher") ;;
    --temp_fac=* | --bt_size=* | --local_loss_exp_no=* | --lamda_local=* | --no_of_pos_eles=* | --no_of_neg_eles=* | \
      --refresh_every=* | --crf=* | --test_aug_overlap=* | --test_f1_threshold=* | --min_classes=* | \
      --cont_normalisation=* | --unl_no_of_tr_imgs=* | --unl_comb_tr_imgs=* | --published_lists=* | --copy_head=* | \
      --method=* | --unlabelled_bs=* | --consistency_weight=* | --confidence=* | --soft_labels=* | \
      --teacher_decay=* | --feature_dropout=* | --refresh_from=* | --largest_component=* | --data_aug=* | --bbox_dim=* | --check_only) joint+=("$argument") ;;
    --pretr_n_iter=*)
      echo "ERROR: $argument is set by this script; give --baseline_n_iter=${argument#*=} instead." >&2
      exit 1 ;;
    --no_of_tr_imgs=* | --comb_tr_imgs=* | --dataset=*)
      echo "ERROR: $argument has a place of its own: bash pseudo_lbl_rand_init.sh no_of_tr_imgs comb_tr_imgs dataset" >&2
      exit 1 ;;
    --*=* | --mixed_precision | --jit_compile | --noresume | --resume | --tensorboard) both+=("$argument") ;;
    --help | -h) show_help; exit 0 ;;
    *)
      echo "ERROR: $argument is not written --name=value. See: bash pseudo_lbl_rand_init.sh --help" >&2
      exit 1 ;;
  esac
done

common=("--dataset=$dataset" "--no_of_tr_imgs=$no_of_tr_imgs" "--comb_tr_imgs=$comb_tr_imgs" ${both[@]+"${both[@]}"})

check_hours "$hours" "$n_iter$baseline_n_iter$joint_n_iter"
baseline_n_iter=${baseline_n_iter:-$n_iter} joint_n_iter=${joint_n_iter:-$n_iter}
joint=("${common[@]}" ${joint[@]+"${joint[@]}"} ${joint_n_iter:+"--n_iter=$joint_n_iter"})
joint+=(${baseline_n_iter:+"--pretr_n_iter=$baseline_n_iter"})
if [[ -n "$baseline_n_iter" ]]; then steps=("--n_iter=$baseline_n_iter"); else steps=(--n_iter=5001 --noextend); fi
if [[ -n "$hours" ]]; then steps=(); fi

# Wrong flags of the second step are told now and not after the first.
run prop_method_joint_tr_rand_init.py "${joint[@]}" --check_only
lengths=("${joint_n_iter:-15001}")
if [[ -z "$teacher" ]]; then
  lengths=("${baseline_n_iter:-5001}" "${lengths[@]}")
  training tr_baseline.py "${common[@]}" ${steps[@]+"${steps[@]}"}
fi
training prop_method_joint_tr_rand_init.py "${joint[@]}"
stage ../scripts/make_report.py "--dataset=$dataset" ${places[@]+"${places[@]}"}
