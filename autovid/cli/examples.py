"""Examples of each command, which its --help ends with."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "search": (
        "autovid search --space tiny --flops 0.0071:0.0079 -o runs/first",
        "autovid search --data my_videos.csv --flops 1.37:1.43 --budget 2h",
        "autovid search --data my_videos.csv --flops 1.37:1.43 --recipe full --batch 16 --dry-run",
    ),
    "derive": (
        "autovid derive runs/first --flops 0.0065:0.007",
        "autovid derive runs/first --front 4",
    ),
    "train": (
        "autovid train runs/first --data my_videos.csv --recipe proxy",
        "autovid train tsn_resnet18 --data my_videos.csv --recipe small --balance",
        "autovid train runs/first --data my_videos.csv --recipe finetune --inherit",
        "autovid train tsn_resnet18 --data my_videos.csv --epochs 50 --batch 16 --dry-run",
    ),
    "evaluate": ("autovid evaluate runs/trained --views 10-lcr", "autovid evaluate runs/trained --data other.csv"),
    "random-baseline": ("autovid random-baseline --searched runs/first -n 8",),
    "export": ("autovid export runs/trained --format onnx -o exports/mine",),
    "predict": (
        "autovid predict runs/trained clip.mp4",
        "autovid predict exports/mine clip.mp4 --window 2",
        "autovid predict exports/mine long.mp4 --timeline out",
        "autovid predict exports/mine --follow rtsp://camera.local/stream1",
    ),
    "compare": ("autovid compare tsn_resnet18 runs/first random:2 --data my_videos.csv --epochs 30 -o runs/which",),
    "sweep": ("autovid sweep tsn_resnet18 --data my_videos.csv --over lr=0.05,0.1 --over seed=0..2",),
    "cam": ("autovid cam clip.mp4 --model runs/trained --start 4",),
    "draw": ("autovid draw runs/first -o first.svg",),
    "report": ("autovid report runs/first runs/trained -o report.html",),
    "bench": ("autovid bench tsn_resnet18 x3d_m",),
    "rank": ("autovid rank runs/first -n 8",),
    "latency-table": ("autovid latency-table --space tiny -o tiny-latency.json",),
    "data": (
        "autovid data index folders my_videos -o my_videos.csv",
        "autovid data check my_videos.csv",
        "autovid data resize my_videos.csv -o small",
    ),
    "import-weights": ("autovid import-weights resnet18.pth --model tsn_resnet18 -o weights.safetensors",),
    "describe": ("autovid describe runs/first", "autovid describe x3d_m --crop 224"),
    "runs": ("autovid runs", "autovid runs experiments --json"),
    "list": ("autovid list models",),
}
