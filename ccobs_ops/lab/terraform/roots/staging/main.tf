# The lab's staging root: nothing recovery rests on, and a data source that changes with every reading.
terraform {
  required_providers {
    lab = {
      source  = "example.com/lab/lab"
      version = "0.1.0"
    }
  }
  backend "s3" {}
}

data "lab_clock" "now" {}

resource "lab_bucket" "scratch" {
  name       = "observatory-staging"
  region     = "us"
  versioning = false
}

resource "lab_file" "config" {
  path    = "staging/app.conf"
  content = "log_level = debug\n"
  mode    = "0644"
}

check "clock" {
  assert {
    condition     = data.lab_clock.now.now != ""
    error_message = "the clock has stopped"
  }
}
