"""Options for a stream on Dataflow. Whatever is given on the command line goes before them."""

DEFAULTS = {
    "streaming": "",
    "enable_streaming_engine": "",  # shuffle and state outside of the workers
    "experiments": "use_runner_v2",
    "autoscaling_algorithm": "THROUGHPUT_BASED",
    "sdk_location": "container",
    "no_save_main_session": "",  # the image has the code; what happens to be in the launching process is none of the workers' business
    "in_flight": "0",  # Dataflow holds back by itself
}
NEEDED = ("project", "region", "temp_location", "sdk_container_image")
