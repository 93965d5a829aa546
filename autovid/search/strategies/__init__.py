"""The strategies that come with autovid, one file each."""
