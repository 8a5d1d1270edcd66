#!/usr/bin/env bash
# Pretrains without labels, fine-tunes and trains the baseline with few, and compares them in one report.
#
#   bash pretrain_and_fine_tune_script.sh [dataset] [no_of_tr_imgs] [comb_tr_imgs] [further flags]
#   bash pretrain_and_fine_tune_script.sh acdc tr1 c1 --seed=1 --mixed_precision
#
# Further flags go to every stage: --seed, --ver, --set, --average_decay, --mixed_precision, --jit_compile, --noresume,
# --tensorboard, --runs_dir, --data_root. --bt_size, --n_parts, --strong_views and --batch_negatives go to the stages that
# have them or find an upstream run by them, --test=0 to those with labels. Steps are set for all stages (--n_iter) or for
# one kind (--global_n_iter, --local_n_iter, --seg_n_iter). With --hours=3 all five trainings together take about three hours here, each the same
# part of it; each measures its first steps and keeps the number of steps that follows. Fine-tuning takes the baseline's.
# Stops at the first stage that fails; the same command resumes there.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/chain.sh"

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  show_help
  exit 0
fi

dataset=acdc no_of_tr_imgs=tr1 comb_tr_imgs=c1
if [[ $# -gt 0 && "$1" != -* ]]; then dataset=$1; shift; fi
if [[ $# -gt 0 && "$1" != -* ]]; then no_of_tr_imgs=$1; shift; fi
if [[ $# -gt 0 && "$1" != -* ]]; then comb_tr_imgs=$1; shift; fi

global_n_iter='' local_n_iter='' seg_n_iter=''
common=() places=() upstream=() pretraining=() encoder=() decoder=() local_only=() labels=()
for argument in "$@"; do
  case "$argument" in
    --n_iter=*) global_n_iter=${argument#*=}; local_n_iter=$global_n_iter; seg_n_iter=$global_n_iter ;;
    --hours=*) hours=${argument#*=}; hours=${hours:-0} ;;
    --global_n_iter=*) global_n_iter=${argument#*=} ;;
    --local_n_iter=*) local_n_iter=${argument#*=} ;;
    --seg_n_iter=*) seg_n_iter=${argument#*=} ;;
    --bt_size=*) pretraining+=("$argument"); encoder+=("$argument") ;;
    --n_parts=*) pretraining+=("$argument"); encoder+=("$argument"); decoder+=("$argument") ;;
    --strong_views=*) pretraining+=("$argument") ;;
    --batch_negatives=*) local_only+=("$argument") ;;
    --test=*) labels+=("$argument") ;;
    --ver=*) common+=("$argument"); upstream+=("--pretr_ver=${argument#*=}") ;;
    --runs_dir=* | --data_root=*)
      argument=${argument%%=*}=$(absolute "${argument#*=}"); places+=("$argument"); common+=("$argument") ;;
    --seed=* | --set=* | --average_decay=* | --mixed_precision | --jit_compile | --noresume | --tensorboard)
      common+=("$argument") ;;
    *)
      echo "ERROR: $argument is none of these flags, written --name=value:" >&2
      echo "  --seed --ver --set --average_decay --mixed_precision --jit_compile --noresume --tensorboard --runs_dir" >&2
      echo "  --data_root --bt_size --n_parts --strong_views --batch_negatives --n_iter --global_n_iter --local_n_iter" >&2
      echo "  --seg_n_iter --hours --test" >&2
      echo "Call the stages one by one to set others." >&2
      exit 1 ;;
  esac
done

check_hours "$hours" "$global_n_iter$local_n_iter$seg_n_iter"
seg=${seg_n_iter:-10001}
lengths=("${global_n_iter:-10001}" "${local_n_iter:-10001}" "$seg" "$seg" "$seg")
common=("--dataset=$dataset" ${common[@]+"${common[@]}"})
# Steps that are not given are those of each script, and a finished run keeps its own.
labels+=("--no_of_tr_imgs=$no_of_tr_imgs" "--comb_tr_imgs=$comb_tr_imgs" ${seg_n_iter:+"--n_iter=$seg_n_iter"})

training pretr_encoder_global_contrastive_loss.py "${common[@]}" ${pretraining[@]+"${pretraining[@]}"} ${global_n_iter:+"--n_iter=$global_n_iter"}
training pretr_decoder_local_contrastive_loss.py "${common[@]}" ${pretraining[@]+"${pretraining[@]}"} ${local_only[@]+"${local_only[@]}"} ${upstream[@]+"${upstream[@]}"} ${local_n_iter:+"--n_iter=$local_n_iter"} ${global_n_iter:+"--pretr_n_iter=$global_n_iter"}
training tr_baseline.py "${common[@]}" "${labels[@]}"
training ft_pretr_encoder_net_global_loss.py "${common[@]}" ${encoder[@]+"${encoder[@]}"} ${upstream[@]+"${upstream[@]}"} "${labels[@]}" ${global_n_iter:+"--pretr_n_iter=$global_n_iter"}
training ft_pretr_encoder_decoder_net_local_loss.py "${common[@]}" ${decoder[@]+"${decoder[@]}"} ${upstream[@]+"${upstream[@]}"} "${labels[@]}" ${local_n_iter:+"--pretr_n_iter=$local_n_iter"}
stage ../scripts/make_report.py "--dataset=$dataset" ${places[@]+"${places[@]}"}
