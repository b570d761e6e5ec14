"""The laboratory's instrument: what every metric answers to known collapse, blur and error."""
